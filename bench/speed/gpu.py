"""SDFM on a GPU: time, memory, waits and precision of each technique at SDXL's size.

``python -m bench.speed.gpu --json out.json`` on a machine with CUDA. It needs torch, numpy, einops, pillow and tqdm, and from
``tests/requirements-no-deps.txt`` k-diffusion and stable-diffusion-sdkit, which are pure Python and can be carried along as
wheels. A UNet of SDXL's shape with random half weights (5.1 GB) is made on the device; A1111's sampling is the tests'
stand-in, the adapter is SDFM's own. Each case runs in turns with plain CFG: ``ratio`` is to plain CFG by the same method,
and the row ``off`` compares plain CFG with itself, which shows the noise. A graph's times are those of the kernels; events
around eager calls also count the time in which the GPU waits for Python. A1111's own wait in each step, for its check for
NaN, is not in the stand-in. The table is printed and the file written as the cases are done, so that a run that is cut off
leaves what it has; a case that fails has its error in its row, and the exit code is 1. ``--tiny --cpu`` runs the same code
without a GPU, on which its times say nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from bench.speed.cases import CASES, Baseline, Measurement, Row, said
from bench.speed.checks import filter_rows, prefix_row
from bench.speed.device import CpuDevice, device_for
from bench.speed.host import PIXELS, BenchHost, bench_host
from bench.speed.unets import SHAPES, Shape
from lib_sdfm import __version__
from tests.accelerator import DEVICE as STAND_IN

TINY = Shape({1: 0, 2: 0, 4: 2}, context=16, side=8, channels=32, tokens=5, head_channels=32, extra=8)
SMALL = Shape({1: 0, 2: 2, 4: 10}, context=256, side=32, channels=64, tokens=77, head_channels=32, extra=256)
"""SDXL's layout, a fifth as wide: for float32."""
IMAGES, STEPS, ROUNDS, SIZE = (1, 2, 4), 6, 2, 1024
HEADINGS = (
    f"{'case':32}{'images':>7}{'method':>8}{'ms':>9}{'ratio':>7}{'wall ms':>9}{'ratio':>7}{'peak MB':>9}{'waits':>7}  notes"
)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write the file; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="the file to write")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="numbers of images per batch")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of a run, at least 3")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each run is timed")
    parser.add_argument("--size", type=int, help=f"pixels along a side ({SIZE}, tiny: {PIXELS * TINY.side})")
    parser.add_argument("--tiny", action="store_true", help="a UNet of SDXL's layout with almost no weights")
    parser.add_argument("--cpu", action="store_true", help="run on the CPU")
    asked = parser.parse_args(argv)
    if asked.steps < 3:
        parser.error("--steps must be 3 or more: the first and the last step are left out where waits are counted")
    try:
        device = device_for(asked.cpu)
    except RuntimeError as problem:
        parser.error(str(problem))
    return Report(device, asked).run()


class Report:
    """The measurements of one call of the bench, printed and written as they are made.

    :param asked: the command line
    """

    def __init__(self, device: CpuDevice, asked: argparse.Namespace) -> None:
        self._device, self._asked = device, asked
        self._shape = TINY if asked.tiny else SHAPES["sdxl-1024"]
        self._size = asked.size or PIXELS * self._shape.side
        self._failed = False
        self._found: dict[str, Any] = {"cases": [], "freeu_filter": [], "prefix_against_whole": []}

    def run(self) -> int:
        """Measure everything asked for; return the exit code."""
        with ExitStack() as stack:
            host = stack.enter_context(bench_host(self._shape, self._device.torch_device, torch.float16))
            counting = None
            if self._asked.cpu:
                counting = stack.enter_context(bench_host(self._shape, STAND_IN, torch.float32))
            self._add_header(host)
            bench = Measurement(self._device, host, counting, self._size, self._asked.steps, self._asked.rounds)
            for images in self._asked.images:
                self._add_cases(bench, images)
            self._add("prefix_against_whole", lambda: [prefix_row(host, self._size)])
        self._add("prefix_against_whole", self._prefix_in_float32)
        self._add("freeu_filter", lambda: filter_rows(self._device.torch_device))
        self._print_checks()
        return int(self._failed)

    def _add_header(self, host: BenchHost) -> None:
        weights = list(host.unet.parameters())
        header = {
            "device": self._device.name,
            "torch": torch.__version__,
            "cuda": torch.version.cuda if self._device.can_replay else None,
            "sdfm": __version__,
            "parameters": sum(weight.numel() for weight in weights),
            "weights_mb": sum(weight.nbytes for weight in weights) / 1e6,
            "dtype": "float16",
            "attention": "scaled_dot_product_attention",
            "sampler": "Euler",
            "size": self._size,
            "steps": self._asked.steps,
            "rounds": self._asked.rounds,
        }
        self._found = {**header, **self._found}
        print(", ".join(f"{name} {value}" for name, value in header.items()), HEADINGS, sep="\n", flush=True)

    def _add_cases(self, bench: Measurement, images: int) -> None:
        off = self._tried(lambda: bench.baseline(images))
        for name in self._asked.cases:
            if isinstance(off, Baseline):
                row = self._tried(lambda name=name: bench.row(name, images, off))
                row = row if isinstance(row, Row) else Row(name, images, error=row)
            else:
                row = Row(name, images, error=f"plain CFG: {off}")
            self._failed |= row.failed
            self._found["cases"].append(row.as_json())
            print(line_of(row), flush=True)
            self._write()

    def _add(self, name: str, rows: Callable[[], Iterable[dict[str, Any]]]) -> None:
        found = self._tried(lambda: list(rows()))
        found = [{"error": found}] if isinstance(found, str) else found
        self._failed |= any("error" in row or row.get("finite") is False for row in found)
        self._found[name] += found
        self._write()

    def _tried(self, work: Callable[[], Any]) -> Any:
        """Return what a piece of work gives, or in words what went wrong: the others go on."""
        try:
            return work()
        except torch.cuda.OutOfMemoryError as problem:
            problem_said = f"out of memory: {said(problem)}"
        except Exception as problem:
            problem_said = said(problem)
        self._device.free()  # here the exception is gone, and with it what it held
        return problem_said

    def _prefix_in_float32(self) -> list[dict[str, Any]]:
        shape = TINY if self._asked.tiny else SMALL
        with bench_host(shape, self._device.torch_device, torch.float32) as host:
            return [prefix_row(host, PIXELS * shape.side)]

    def _print_checks(self) -> None:
        for row in self._found["prefix_against_whole"]:
            print("PAG, shared prefix against whole pass:", ", ".join(f"{name} {value}" for name, value in row.items()))
        rows = self._found["freeu_filter"]
        worst = max((row["max_relative_error"] for row in rows if row.get("finite")), default=None)
        broken = [row for row in rows if not row.get("finite")]
        print(
            f"FreeU's filter in half: finite on {len(rows) - len(broken)} of {len(rows)} maps, largest relative error {worst}"
        )
        for row in broken:
            print(" ", row)

    def _write(self) -> None:
        if self._asked.json is not None:
            self._asked.json.write_text(json.dumps(self._found, indent=1) + "\n", encoding="utf8")


def line_of(row: Row) -> str:
    """Return a row of the table."""
    start = f"{CASES[row.case].label:32}{row.images:7}"
    if row.error is not None:
        return f"{start}  {row.error}"
    notes = [row.note] if row.note else []
    notes += [] if row.finite else ["NOT FINITE"]
    notes += [] if row.off_equal else ["OFF DIFFERS AFTERWARDS"]
    notes += ["graph differs from eager"] if row.graph_equal is False else []
    return (
        f"{start}{row.method:>8}{row.gpu_ms:9.2f}{row.ratio:7.3f}{row.wall_ms:9.2f}{row.wall_ratio:7.3f}"
        f"{row.peak_mb:9.1f}{row.waits_per_step:7.2f}  {', '.join(notes)}"
    ).rstrip()


if __name__ == "__main__":
    sys.exit(main())
