"""Measure what guidance gains: ``python -m bench.quality``.

Pictures of the shapes models, made by the demo through its API, the same captions and seeds for every setting.

* **adherence**: the share of pictures that keep all that their caption promises (``judge.py``). Without a prompt the
  share that could be of this world: known shapes in known colours on a known background, which agree. 95% by Wilson.
* **agreement**: the share of pictures whose parts agree with each other, whatever was promised: one or two kinds of shapes,
  those of a kind alike, standing as in some drawn picture. 95% by Wilson.
* **distance**: the unbiased squared kernel distance (KID, arXiv 1801.01401) between features (``features.py``) of these
  pictures and of drawn ones that went through the latent coding. 0: as drawn. 95% by the bootstrap.

What is finished is kept in ``demo/cache/quality`` for as long as nothing that decides it changes: a run that was interrupted
goes on, and one with a larger ``--count`` makes only what is new.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from bench.quality import sheets, tables
from bench.quality.claims import completed, findings
from bench.quality.demo_host import DemoHost
from bench.quality.results import DRAWN, Results
from bench.quality.rows import ROOT, WORK, Measured, Work, batches_of, fingerprint, joined, measure
from bench.quality.settings import SETTINGS, Setting, chosen
from lib_sdfm.errors import UserError

COUNT, SEED = 256, 1
FIGURES = ROOT / "bench" / "quality" / "results.json"
STYLED = ("CFG 4", "shapes-ink", "refiner, one prompt", "refiner, prompt synced")


@cache
def _host() -> DemoHost:
    torch.set_num_threads(1)
    return DemoHost.started()


def _finish(work: Work, setting: Setting, numbers: range, seed: int) -> tuple[str, float]:
    """In a process of its own: one batch."""
    host, started = _host(), time.perf_counter()
    work.save(setting, numbers, measure(host, setting, numbers, seed))
    return f"{setting.name}, {numbers.start} to {numbers.stop}", len(numbers) / (time.perf_counter() - started)


def measured(settings: list[Setting], options: argparse.Namespace) -> Iterator[tuple[Setting, Measured]]:
    """Makes what is missing, the first batches of all settings first, and gives all rows in order."""
    work = Work(options.work, fingerprint(), options.seed)
    batches = [(setting, numbers) for setting in settings for numbers in batches_of(setting, options.count)]
    missing = sorted((batch for batch in batches if not work.path(*batch).exists()), key=lambda batch: batch[1].start)
    if missing:
        with ProcessPoolExecutor(min(options.jobs, len(missing)), get_context("spawn")) as pool:
            jobs = [pool.submit(_finish, work, *batch, options.seed) for batch in missing]
            for number, job in enumerate(jobs, start=1):
                name, rate = job.result()
                print(f"{number}/{len(jobs)} {name}: {rate:.1f} pictures a second", file=sys.stderr, flush=True)
    for setting in settings:
        yield setting, joined([work.load(setting, numbers) for numbers in batches_of(setting, options.count)])


def figures_of(results: Results, options: argparse.Namespace) -> dict[str, Any]:
    """All that docs/benchmarks.md shows."""
    return {
        "count": options.count,
        "seed": options.seed,
        "rows": results.rows(),
        "claims": [finding.as_json() for finding in findings(results)],
        "inked": {name: [round(value, 4) for value in results.inked(name)] for name in STYLED if results.has(name)},
    }


def with_earlier(figures: dict[str, Any], results: Results, before: dict[str, Any]) -> dict[str, Any]:
    """Return figures of some settings with those of all others from an earlier run with the same pictures and seeds.

    :raises UserError: if something was never measured, or in another way
    """
    if before["seed"] != figures["seed"]:
        raise UserError(f"the earlier figures have seed {before['seed']}, these {figures['seed']}")
    rows = {row["setting"]: row for row in (*before["rows"], *figures["rows"])}
    missing = [setting.name for setting in SETTINGS if setting.name not in rows]
    if missing:
        raise UserError(f"not measured yet: {', '.join(missing)}")
    found = completed(findings(results), before["claims"])
    inked = {**before["inked"], **figures["inked"]}
    return {
        **before, "rows": [rows[setting.name] for setting in SETTINGS], "claims": [one.as_json() for one in found],
        "inked": {name: inked[name] for name in STYLED},
    }  # fmt: skip


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help="pictures of each setting; of most flow samplers a quarter")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--drawn", type=int, default=DRAWN, help="drawn pictures to compare with, of each style")
    parser.add_argument("--only", action="append", default=[], metavar="GLOB", help="settings whose names fit; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--work", type=Path, default=WORK, help="where finished batches are kept")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the rows as one JSON object")
    output.add_argument("--table", action="store_true", help="print the tables (the default)")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="writes the demo's sheets of pictures")
    parser.add_argument(
        "--document",
        type=Path,
        metavar="FILE",
        help=f"brings its tables and {FIGURES.name} up to date; what --only leaves out stays as measured before",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = options_of(arguments)
    try:
        settings = chosen(options.only)
    except UserError as error:
        raise SystemExit(str(error)) from error
    rows = list(measured(settings, options))
    results = Results(rows, options.seed, options.drawn)
    figures = figures_of(results, options)
    if options.sheets:
        sheets.write(options.sheets, {setting.name: row for setting, row in rows}, figures["rows"])
    if options.document:
        if options.only:
            try:
                figures = with_earlier(figures, results, json.loads(FIGURES.read_text(encoding="utf8")))
            except UserError as error:
                raise SystemExit(str(error)) from error
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf8")
        text = options.document.read_text(encoding="utf8")
        options.document.write_text(tables.refreshed(figures, text), encoding="utf8")
    if options.json:
        print(json.dumps({"rows": figures["rows"]}))
    else:
        print("\n".join(table(figures) for table in tables.TABLES.values()))
