"""A flow model whose predictions, and the results of whose exact sampling, are known: mixtures of normal distributions.

Each element of a latent is drawn from a mixture of its own image and channel. The probability flow of one dimension moves
quantiles to quantiles, so that the exact result for a given noise is the mixture's quantile of the noise's probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lib_sdfm.ops.flow import sigma_to_time

QUANTILE_RANGE = 12.0


@dataclass
class AnalyticFlow:
    """Mixtures of equally probable modes.

    :param means: ``(B, C, modes)``
    :param spreads: standard deviation within the modes, ``(B, C)``
    """

    means: Tensor
    spreads: Tensor
    calls: int = 0

    @classmethod
    def drawn(cls, images: int, modes: int, spreads: tuple[float, float], seed: int = 0) -> AnalyticFlow:
        """Modes about 1 apart around 0, of widths between the given ones, one per image and channel."""
        generator = torch.Generator().manual_seed(seed)
        places = torch.arange(modes, dtype=torch.float64) - (modes - 1) / 2
        means = places + 0.2 * torch.randn(images, 4, modes, generator=generator, dtype=torch.float64)
        share = torch.linspace(0, 1, images * 4, dtype=torch.float64).view(images, 4)
        return cls(means, spreads[0] * (spreads[1] / spreads[0]) ** share)

    def denoised(self, x: Tensor, t: Tensor | float) -> Tensor:
        """``E[x0 | x_t]``, for ``x_t`` of shape ``(B, C, H, W)`` and a time, or times ``(B, 1, 1, 1, 1)``."""
        self.calls += 1
        means, own = self._per_mode(x), self._width(x) ** 2
        keep, noise = 1 - t, t * t
        total = keep**2 * own + noise
        odds = (-((x[..., None] - keep * means) ** 2) / (2 * total)).softmax(-1)
        return (odds * (keep * own * x[..., None] + noise * means) / total).sum(-1)

    def exact(self, noise: Tensor) -> Tensor:
        """Where the probability flow brings noise ``(B, C, H, W)`` at time 1."""
        probability = torch.special.ndtr(noise)
        low, high = torch.full_like(noise, -QUANTILE_RANGE), torch.full_like(noise, QUANTILE_RANGE)
        for _ in range(60):
            middle = (low + high) / 2
            below = self._probability(middle) < probability
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def quantiles(self, number: int) -> Tensor:
        """Evenly spaced quantiles of each mixture, ``(B, C, number)``."""
        places = (torch.arange(number, dtype=torch.float64) + 0.5) / number
        noise = torch.special.ndtri(places).expand(*self.means.shape[:2], 1, number)
        return self.exact(noise)[:, :, 0]

    def distance(self, x: Tensor) -> float:
        """How far the elements' distribution is from the model's: root mean square between quantiles (Wasserstein 2)."""
        drawn = x.flatten(2).sort(-1).values
        return float((drawn - self.quantiles(drawn.shape[-1])).square().mean().sqrt())

    def _probability(self, x: Tensor) -> Tensor:
        return torch.special.ndtr((x[..., None] - self._per_mode(x)) / self._width(x)).mean(-1)

    def _per_mode(self, x: Tensor) -> Tensor:
        return self.means[:, :, None, None, :]

    def _width(self, x: Tensor) -> Tensor:
        return self.spreads[:, :, None, None, None]


class ExplodingModel:
    """The model as k-diffusion sees it: ``x0 + sigma * noise``."""

    def __init__(self, flow: AnalyticFlow) -> None:
        self._flow = flow

    def __call__(self, y: Tensor, sigma: Tensor, **extra: object) -> Tensor:
        t = sigma_to_time(float(sigma.flatten()[0]))
        return self._flow.denoised(y * (1 - t), t)


class TimeModel:
    """The model with ``sigma = t``, as ComfyUI shows it to k-diffusion's samplers."""

    def __init__(self, flow: AnalyticFlow) -> None:
        self._flow = flow

    def __call__(self, x: Tensor, t: Tensor, **extra: object) -> Tensor:
        return self._flow.denoised(x, float(t.flatten()[0]))
