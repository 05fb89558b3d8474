"""The tables of quality in docs/benchmarks.md, made from ``bench/quality/results.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.quality.claims import DISTANCE
from bench.quality.results import SHARES
from bench.quality.settings import CALLS, ONE_CALL, TWO_CALLS
from tools.documents import markdown_table, with_tables

Rows = dict[str, dict[str, Any]]


def share(value: float) -> str:
    return f"{100 * value:.0f}%"


def _share_within(value: float, low: float, high: float) -> str:
    return f"{share(value)} [{100 * low:.0f}, {100 * high:.0f}]"


def _distance(row: dict[str, Any]) -> str:
    low, high = row["distance_ci"]
    return f"{row['distance']:.3f} [{low:.3f}, {high:.3f}]"


def _sampler_row(sampler: str, calls: int) -> str:
    return f"flow, {sampler}, {calls} calls"


def rows_table(results: dict[str, Any]) -> str:
    """All settings but flow's samplers."""
    in_grid = {_sampler_row(sampler, calls) for sampler in (*ONE_CALL, *TWO_CALLS) for calls in CALLS}
    lines = [[row["setting"], str(row["n"]), *(_share_within(row[name], *row[f"{name}_ci"]) for name in SHARES), _distance(row)]
             for row in results["rows"] if row["setting"] not in in_grid]  # fmt: skip
    return markdown_table(["setting", "n", *SHARES, "distance"], lines)


def flow_table(results: dict[str, Any]) -> str:
    """Flow's samplers by the number of model calls: adherence, and distance behind it."""
    rows = {row["setting"]: row for row in results["rows"]}

    def cell(row: dict[str, Any] | None) -> str:
        if row is None:
            return ""
        half = max(row["adherence"] - row["adherence_ci"][0], row["adherence_ci"][1] - row["adherence"])
        return f"{share(row['adherence'])} ±{100 * half:.0f}, {row['distance']:.2f}"

    samplers = (*ONE_CALL, *TWO_CALLS)
    lines = [[sampler, *(cell(rows.get(_sampler_row(sampler, calls))) for calls in CALLS)] for sampler in samplers]
    return markdown_table(["sampler", *(f"{calls} calls" for calls in CALLS)], [line for line in lines if any(line[1:])])


def _gain(claim: dict[str, Any]) -> str:
    gain, (low, high) = claim["gain"], claim["bounds"]
    if claim["measure"] == DISTANCE:
        return f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"{100 * gain:+.0f} points [{100 * low:+.0f}, {100 * high:+.0f}]"


def claims_table(results: dict[str, Any]) -> str:
    """Claims and findings."""
    lines = [[claim["text"], claim["measure"], _gain(claim), claim["verdict"]] for claim in results["claims"]]
    return markdown_table(["claim", "by", "gain", ""], lines)


def styles_table(results: dict[str, Any]) -> str:
    """Shares of ink drawings, with and without a refiner that draws in ink."""
    lines = [[name, _share_within(*found)] for name, found in results["inked"].items()]
    return markdown_table(["setting", "ink drawings"], lines)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "rows": rows_table, "flow": flow_table, "claims": claims_table, "styles": styles_table,
}  # fmt: skip


def refreshed(results: dict[str, Any], document: str) -> str:
    """The document with every table between ``<!-- quality: NAME -->`` and ``<!-- end -->`` made anew."""
    return with_tables(document, "quality", lambda name: TABLES[name](results))
