"""A model whose predictions are known exactly, and what another implementation's CFG++ samplers made of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

RECORDED = json.loads((Path(__file__).parent / "recorded" / "cfgpp_samplers.json").read_text(encoding="utf8"))
SHAPE = RECORDED["shape"]


def recorded(values: list) -> Tensor:
    """Recorded numbers, as latents ``(2, 4, 3, 3)`` if there are as many."""
    tensor = torch.tensor(values, dtype=torch.float64)
    return tensor.view(SHAPE) if tensor.shape == (torch.Size(SHAPE).numel(),) else tensor


SIGMAS, START = recorded(RECORDED["sigmas"]), recorded(RECORDED["x_start"])
NOISES = [recorded(noise) for noise in RECORDED["noises"]]
COND, UNCOND = recorded(RECORDED["mu_cond"]), recorded(RECORDED["mu_uncond"])


def expected_image(x: Tensor, sigma: Tensor, means: Tensor) -> Tensor:
    """``E[x0 | x]`` of each pixel, where pixels are drawn around one of ``means``.

    :param x: ``(B, 4, H, W)``
    :param sigma: ``(B,)``
    :param means: ``(modes, 4)``
    """
    own, noise = RECORDED["s"] ** 2, (sigma**2).view(-1, 1, 1, 1, 1)
    pixels, means = x[:, None], means.to(x)[None, :, :, None, None]
    odds = -((pixels - means) ** 2).sum(2, keepdim=True) / (2 * (own + noise))
    return (odds.softmax(1) * (own * pixels + noise * means) / (own + noise)).sum(1)


@dataclass
class AnalyticModel:
    """Guides with ``scale``; with ``same`` cond and uncond are equal."""

    scale: float = 0.6
    same: bool = False
    last_uncond: Tensor | None = None
    calls: list[float] = field(default_factory=list)

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        self.calls.append(float(sigma[0]))
        self.last_uncond = expected_image(x, sigma, COND if self.same else UNCOND)
        return self.last_uncond + (expected_image(x, sigma, COND) - self.last_uncond) * self.scale


class NoiseInTurn:
    """Gives the recorded noises one after the other, or those of one image of the batch."""

    def __init__(self, images: slice = slice(None)) -> None:
        self._noises, self._images = iter(NOISES), images

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return next(self._noises)[self._images]
