"""Wall time of what SDFM computes, as ratios to what it is compared with, measured in turns in one run.

``python -m bench.speed.ops_cost [--json] [--rounds N] [--shape NAME]``. Below 1 SDFM is faster:

* ``pag_to_plain``, ``pag_full_to_plain``, ``pag_doubled_to_plain``: a step with PAG to a step without, as SDFM computes it,
  with a whole extra row, and with two; ``pag_apart_to_plain`` with the perturbed row apart from the host's
* ``pag_row``: what PAG adds, in cond rows
* ``blur_to_convolution``: SEG's blur to a two-dimensional convolution with the same kernel
* ``filter_to_fft``: FreeU's filter to a Fourier transform, on each map of SDXL's and SD1.5's decoders that FreeU changes
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.speed.unet_cost import PAG
from bench.speed.unets import SHAPES, Denoiser, Shape, inputs, make_unet
from lib_sdfm.hosts.a1111.attention import PerturbedAttention
from lib_sdfm.hosts.a1111.recorded_calls import CallRecorder
from lib_sdfm.hosts.a1111.tail import a1111_tail
from lib_sdfm.hosts.run import Together
from lib_sdfm.hosts.unet_layers import UnetLayers
from lib_sdfm.ops.blur import blur_matrices, blur_tokens, kernel_size
from lib_sdfm.ops.freeu import filter_skip

SMALL = Shape({1: 0, 2: 2, 4: 10}, context=256, side=32, channels=64, head_channels=32, extra=256)
"""SDXL's layout, a fifth as wide."""
UNETS = {"small": SMALL, **SHAPES}
ROUNDS = 5
SIGMA, GRID, CHANNELS = 4.0, (32, 32), 1280
SKIPS = ((2, 1280, 32, 32), (2, 640, 64, 64), (2, 1280, 8, 8), (2, 1280, 16, 16), (2, 640, 32, 32))
"""Skip features that FreeU filters: SDXL's at 1024, then SD1.5's at 512."""
LOW = 0.6
ALWAYS = Together()


class Steps:
    """Denoiser steps on one UNet.

    :param shape: of the UNet and its latent
    """

    def __init__(self, shape: Shape) -> None:
        unet = make_unet(shape, "cpu")
        self.unet, self.shape = UnetLayers(unet), shape
        self.model = Denoiser(unet, max(shape.depths.values()))
        self.recorder = CallRecorder()

    def plain(self) -> None:
        """Cond and uncond."""
        given = inputs(self.shape, 2, "cpu")
        self.model(given.pop("x"), given.pop("time"), **given)

    def row(self) -> None:
        """Cond alone."""
        given = inputs(self.shape, 1, "cpu")
        self.model(given.pop("x"), given.pop("time"), **given)

    def apart(self) -> None:
        """With PAG from shared features, its row apart from the host's."""
        self.shared(Together(0))

    def shared(self, together: Together = ALWAYS) -> None:
        """With PAG from shared features."""
        extra = a1111_tail(self.unet, {"pag": PAG}, edits_skips=False, cond_rows=1, together=together)
        self.recorder.follow(self.model)
        extra.attach()
        self.plain()
        extra.detach()
        extra.predictions(lambda: self.recorder.replay(1))
        self.recorder.detach()

    def full(self, rows: int = 1) -> None:
        """With PAG in whole passes."""
        self.recorder.follow(self.model)
        self.plain()
        with PerturbedAttention(self.unet, PAG):
            self.recorder.replay(rows)
        self.recorder.detach()

    def doubled(self) -> None:
        """With PAG in whole passes of both rows."""
        self.full(2)


def convolution(tokens: Tensor, sigma: float) -> Tensor:
    """The blur as the paper's code computes it: one kernel for each channel, mirrored borders."""
    taps = kernel_size(sigma, GRID[0])
    offsets = torch.arange(taps) - taps // 2
    line = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = torch.outer(line, line).div_(line.sum() ** 2).expand(CHANNELS, 1, taps, taps)
    planes = tokens.transpose(1, 2).unflatten(2, GRID)
    padded = nn.functional.pad(planes, (taps // 2,) * 4, mode="reflect")
    return nn.functional.conv2d(padded, kernel, groups=CHANNELS).flatten(2).transpose(1, 2)


def fourier(skip: Tensor, low: float) -> Tensor:
    """FreeU's filter as its code computes it."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(skip, dim=(-2, -1)), dim=(-2, -1))
    rows, columns = (n // 2 for n in skip.shape[-2:])
    spectrum[..., rows - 1 : rows + 1, columns - 1 : columns + 1] *= low
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)).real


def seconds(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median time of each work, done in turns after a first round that doesn't count."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


@torch.no_grad()
def ratios(rounds: int, shape: Shape = SMALL) -> dict[str, float]:
    """Return all ratios.

    :param shape: of the UNet whose steps are timed
    """
    steps = Steps(shape)
    step = seconds({name: getattr(steps, name) for name in ("plain", "row", "shared", "apart", "full", "doubled")}, rounds)
    tokens = torch.randn(1, GRID[0] * GRID[1], CHANNELS)
    taps = (kernel_size(SIGMA, GRID[0]),) * 2
    matrices = blur_matrices(GRID, SIGMA, taps, tokens)
    torch.testing.assert_close(blur_tokens(tokens, *matrices), convolution(tokens, SIGMA), atol=1e-4, rtol=1e-4)
    works = {"blur": lambda: blur_tokens(tokens, *matrices), "convolution": lambda: convolution(tokens, SIGMA)}
    part = seconds(works, rounds)
    return {
        "pag_to_plain": step["shared"] / step["plain"],
        "pag_apart_to_plain": step["apart"] / step["plain"],
        "pag_full_to_plain": step["full"] / step["plain"],
        "pag_doubled_to_plain": step["doubled"] / step["plain"],
        "pag_row": (step["shared"] - step["plain"]) / step["row"],
        "blur_to_convolution": part["blur"] / part["convolution"],
        **{f"filter_to_fft {'x'.join(map(str, shape))}": filter_to_fft(torch.randn(shape), rounds) for shape in SKIPS},
    }


def filter_to_fft(skip: Tensor, rounds: int) -> float:
    """Return the time of FreeU's filter in units of a Fourier transform's."""
    torch.testing.assert_close(filter_skip(skip, 0.0, LOW, 1.0), fourier(skip, LOW), atol=1e-4, rtol=1e-4)
    works = {"filter": lambda: filter_skip(skip, 0.0, LOW, 1.0), "fourier": lambda: fourier(skip, LOW)}
    taken = seconds(works, rounds)
    return taken["filter"] / taken["fourier"]


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is measured")
    parser.add_argument("--shape", choices=UNETS, default=next(iter(UNETS)), help="UNet whose steps are timed")
    chosen = parser.parse_args()
    found = ratios(chosen.rounds, UNETS[chosen.shape])
    if chosen.json:
        print(json.dumps(found))
        return
    for name, ratio in found.items():
        print(f"{name:32} {ratio:.3f}")


if __name__ == "__main__":
    main()
