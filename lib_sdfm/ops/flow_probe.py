"""Detection of a UNet's prediction type by calling it: noise (eps), v, or a flow model's velocity.

The UNet generates a few pictures under each assumption, and denoises them again with fresh noise added. Under the right
assumption the result is closest to its own pictures. Other pictures are no use: to a model that was not trained on similar
ones they are noise themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .flow import exploding_to_flow, sigma_to_time, velocity_to_denoised

EPS, V, FLOW = KINDS = ("eps", "v", "flow")
Predict = Callable[[Tensor, Tensor], Tensor]
"""A UNet: from latents ``(B, C, H, W)`` and times 0 to 999 ``(B,)`` to its output."""
IMAGES = 4
WAY = (14.0, 7.0, 4.0, 2.4, 1.5, 0.9, 0.55, 0.3, 0.15, 0.05, 0.0)
"""Noise levels at which the pictures are generated."""
LEVELS = (0.3, 0.6, 1.2)
"""Noise levels at which they are denoised again."""
CERTAIN = 1.08


@dataclass(frozen=True)
class Recognition:
    """Detected prediction type of a model.

    :param errors: by kind, the error of denoising its own pictures, relative to the noise
    """

    errors: Mapping[str, float]

    @property
    def kind(self) -> str:
        """The detected kind: ``eps``, ``v`` or ``flow``."""
        return min(self.errors, key=self.errors.__getitem__)

    @property
    def sure(self) -> bool:
        """True if the kind is certain: its error is clearly smaller than any other's."""
        least, second = sorted(self.errors.values())[:2]
        return second > CERTAIN * least and least < 1

    @property
    def certain(self) -> bool:
        """True if flow or not flow is certain: the error of flow differs clearly from the others' smallest."""
        flow, others = self.errors[FLOW], min(error for kind, error in self.errors.items() if kind != FLOW)
        return max(flow, others) > CERTAIN * min(flow, others) and min(flow, others) < 1


@torch.no_grad()
def recognise(predict: Predict, size: tuple[int, int, int], device: torch.device | str = "cpu", seed: int = 0) -> Recognition:
    """Detect what a UNet predicts, in 39 calls.

    :param size: channels, height and width of its latents
    """
    return Recognition({kind: own_error(kind, predict, size, device, seed) for kind in KINDS})


def own_error(kind: str, predict: Predict, size: tuple[int, int, int], device: torch.device | str, seed: int) -> float:
    """Return a UNet's error of denoising its own pictures, assuming this kind, relative to the noise."""
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.randn(IMAGES, *size, generator=generator).to(device)

    picture = noise() * WAY[0]
    for sigma, sigma_next in pairwise(WAY):
        denoised = denoise(kind, predict, picture, sigma)
        picture = denoised + (picture - denoised) * (sigma_next / sigma)
    errors = [denoise(kind, predict, picture + sigma * noise(), sigma) - picture for sigma in LEVELS]
    shares = [float(error.square().mean().sqrt()) / sigma for error, sigma in zip(errors, LEVELS)]
    mean = sum(shares) / len(shares)
    return mean if mean < float("inf") else float("inf")  # NaN too


def denoise(kind: str, predict: Predict, y: Tensor, sigma: float) -> Tensor:
    """Return the denoised image for k-diffusion's latent ``x0 + sigma * noise``, assuming a UNet of this kind."""
    if kind == FLOW:
        t = sigma_to_time(sigma)
        x = exploding_to_flow(y, t)
        return velocity_to_denoised(predict(x, y.new_full((len(y),), 1000 * t)).to(y), x, t)
    scale = (1 + sigma**2) ** -0.5
    output = predict(y * scale, y.new_full((len(y),), nearest_time(sigma))).to(y)
    return y * scale**2 - output * (sigma * scale) if kind == V else y - output * sigma


def nearest_time(sigma: float) -> float:
    """Return the time, 0 to 999, at which Stable Diffusion's own noise table is nearest to a noise level."""
    alpha_bars = noise_table()
    sigmas = ((1 - alpha_bars) / alpha_bars).sqrt()
    return float((sigmas.log() - torch.tensor(sigma, dtype=torch.float64).log()).abs().argmin())


def noise_table() -> Tensor:
    """Return Stable Diffusion's own noise table, ``(1000,)`` float64."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)
