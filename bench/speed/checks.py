"""Precision on the device: FreeU's filter in half, and PAG's shared prefix against a whole pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench.speed.cases import CASES
from bench.speed.host import BenchHost
from lib_sdfm.ops.freeu import filter_skip

SIDES, MEANS, CUTOFFS = (32, 64, 128, 256), (1, 2, 4, 8, 16, 32, 64, 128), (0.0, 0.5)
CHANNELS = 8
LOW, HIGH = 0.6, 1.1
"""Factors of low and other frequencies."""


def filter_rows(device: torch.device) -> Iterator[dict[str, Any]]:
    """Yield how FreeU's filter does on half maps inside autocast, by size, by mean and by how it is computed.

    A cutoff of 0 takes matrix products, one of 0.5 a Fourier transform where the map is large.
    """
    for side in SIDES:
        noise = torch.randn(1, CHANNELS, side, side, generator=torch.Generator().manual_seed(side)).to(device)
        for mean in MEANS:
            for cutoff in CUTOFFS:
                yield {"side": side, "mean": mean, "cutoff": cutoff, **_filter_error((noise + mean).half(), cutoff)}


@torch.no_grad()
def _filter_error(features: Tensor, cutoff: float) -> dict[str, Any]:
    exact = filter_skip(features.double(), cutoff, LOW, HIGH)
    with torch.autocast(features.device.type, torch.float16):
        got = filter_skip(features, cutoff, LOW, HIGH)
    finite = bool(got.isfinite().all())
    error = float((got.double() - exact).abs().max() / exact.abs().max())
    return {"finite": finite, "max_relative_error": error if finite else None}


def prefix_row(host: BenchHost, size: int) -> dict[str, Any]:
    """Return how far PAG by the shared prefix is from PAG by a whole pass, after one step of one picture.

    Float32 convolutions are computed in float32 meanwhile; torch's default on CUDA is TF32.
    """
    found, cudnn = [], torch.backends.cudnn
    tf32 = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        for name in ("pag", "pag_whole"):
            with CASES[name].around(host.unet):
                found.append(host.samples(CASES[name].request, size, images=1, steps=1))
    finally:
        cudnn.allow_tf32 = tf32
    prefix, whole = found
    finite = bool(prefix.isfinite().all() and whole.isfinite().all())
    return {
        "dtype": str(host.variety.dtype).removeprefix("torch."),
        "size": size,
        "finite": finite,
        "relative_difference": float((prefix - whole).norm() / whole.norm()) if finite else None,
    }
