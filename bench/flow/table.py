"""The table of ``bench/flow/samplers.py`` in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools.documents import markdown_table, with_tables

SHIFT, SCHEDULE, CALLS, NAIVE_CALLS = 3.0, "Automatic", (10, 20, 40), (20, 40)
KIND = "flow samplers"
LEFT_OUT = ("DDIM (host's grid)", "PLMS (host's grid)", "DPM adaptive")
"""Samplers that the extension replaces, and one that makes as many calls as it likes."""

Row = dict[str, Any]


def table(rows: list[Row], is_noisy: Callable[[str], bool]) -> str:
    """A line for each sampler: errors by model calls, then those with ``sigma = t``; the stochastic ones below.

    :param rows: as the benchmark prints them
    """
    known = {(row["sampler"], row["calls"]): row for row in rows if (row["shift"], row["schedule"]) == (SHIFT, SCHEDULE)}
    names = [name for name in dict.fromkeys(name for name, _ in known) if name not in LEFT_OUT]
    heads = [*map(str, CALLS), *(f"sigma = t: {calls}" if i == 0 else str(calls) for i, calls in enumerate(NAIVE_CALLS))]
    lines = [_line(name, known) for name in names if not is_noisy(name)]
    lines += [["*stochastic*", *[""] * len(heads)]]
    lines += [_line(name, known) for name in names if is_noisy(name)]
    return markdown_table(["sampler", *heads], lines)


def _line(name: str, known: dict[tuple[str, int], Row]) -> list[str]:
    ours = [known[name, calls]["error"] for calls in CALLS]
    naive = [known[name, calls]["error_naive"] for calls in NAIVE_CALLS]
    return [name, *("" if error is None else f"{error:.3f}" for error in ours + naive)]


def refreshed(text: str, rows: list[Row], is_noisy: Callable[[str], bool]) -> str:
    """Return a document with the table made anew."""
    return with_tables(text, KIND, lambda name: table(rows, is_noisy))
