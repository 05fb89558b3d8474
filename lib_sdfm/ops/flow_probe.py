"""Detection of a UNet's prediction type by calling it: noise (eps), v, or a flow model's velocity.

Given pure noise at the highest time, a model of noise or velocity returns about that noise, a v model about an image. Noise
and velocity are told apart by pictures: the UNet generates a few under each assumption, and denoises them again with fresh
noise added. Under the right assumption the result is closest to its own pictures. Other pictures are no use: to a model that
was not trained on similar ones they are noise themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .flow import exploding_to_flow, sigma_to_time, velocity_to_denoised

EPS, V, FLOW = KINDS = ("eps", "v", "flow")
INFINITE = math.inf
Predict = Callable[[Tensor, Tensor], Tensor]
"""A UNet: from latents ``(B, C, H, W)`` and times 0 to 999 ``(B,)`` to its output."""
Watch = Callable[[int, int], None]
"""Function called before each call of the UNet with its number, from 0, and the largest possible number of calls. What it
raises ends the detection."""
IMAGES = 2
LATENT = (4, 32, 32)
"""Channels, height and width of the latents of Stable Diffusion with which it is asked."""
WAY = (14.0, 5.0, 2.0, 0.9, 0.4, 0.12, 0.0)
"""Noise levels at which the pictures are generated."""
LEVELS = (0.6, 1.2, 0.3)
"""Noise levels at which they are denoised again, until the difference is clear."""
MOST_CALLS = 1 + len(KINDS) * (len(WAY) - 1 + len(LEVELS))
CONTROLS = {FLOW: V, V: FLOW}
"""The kind out of question with which the best one is compared as well."""
HIGHEST_TIME = 999.0
NO_NOISE, ALL_NOISE = 0.5, 0.85
"""Correlations of output and pure noise below which a model predicts v, and above which it doesn't; measured are 0.1 for v, 0.9
to 1 for the others."""
CLEAR, CERTAIN = 1.3, 1.08
"""Ratios of the two smallest errors at which no further level is tried, and from which a kind is certain."""


@dataclass(frozen=True)
class Recognition:
    """Detected prediction type of a model.

    :param errors: by kind, the error of denoising its own pictures, relative to the noise; infinite if that is out of question
    :param is_doubtful: true if a kind that is out of question fits as well as the best of the others
    """

    errors: Mapping[str, float]
    is_doubtful: bool = False

    @property
    def kind(self) -> str:
        """The detected kind: ``eps``, ``v`` or ``flow``."""
        return min(self.errors, key=self.errors.__getitem__)

    @property
    def sure(self) -> bool:
        """True if the kind is certain: its error is clearly smaller than any other's."""
        return self._differs_by(CERTAIN)

    @property
    def is_clear(self) -> bool:
        """True if nothing more needs to be asked."""
        return self._differs_by(CLEAR)

    def _differs_by(self, ratio: float) -> bool:
        least, second = sorted(self.errors.values())[:2]
        return not self.is_doubtful and second > ratio * least and least < 1

    @property
    def certain(self) -> bool:
        """True if flow or not flow is certain: the error of flow differs clearly from the others' smallest."""
        flow, others = self.errors[FLOW], min(error for kind, error in self.errors.items() if kind != FLOW)
        differ = max(flow, others) > CERTAIN * min(flow, others) and min(flow, others) < 1
        return differ and not self.is_doubtful


@torch.no_grad()
def recognise(
    predict: Predict,
    size: tuple[int, int, int] = LATENT,
    device: torch.device | str = "cpu",
    seed: int = 0,
    watch: Watch = lambda call, most: None,
) -> Recognition:
    """Detect what a UNet predicts, in at most 28 calls: usually 15 to 23.

    :param size: channels, height and width of its latents
    :param watch: called before each call
    """
    generator, counted = torch.Generator().manual_seed(seed), _Counted(predict, watch)

    def noise() -> Tensor:
        return torch.randn(IMAGES, *size, generator=generator).to(device)

    returned = noise_returned(counted, noise())
    kinds = (V,) if returned < NO_NOISE else (EPS, FLOW) if returned > ALL_NOISE else KINDS
    pictures = [_OwnPictures(kind, counted, noise) for kind in kinds]
    for number in range(1, len(LEVELS) + 1):
        errors = {own.kind: own.error(LEVELS[:number]) for own in pictures}
        found = Recognition({kind: errors.get(kind, INFINITE) for kind in KINDS})
        if found.is_clear:
            break
    control = CONTROLS.get(found.kind)
    if control is None or control in kinds:
        return found
    # pictures of a wrong kind may be empty, and easy: then another kind's fit as well
    error = _OwnPictures(control, counted, noise).error(LEVELS[:number])
    return Recognition(found.errors, is_doubtful=error < CERTAIN * found.errors[found.kind])


def noise_returned(predict: Predict, noise: Tensor) -> float:
    """Return the correlation of a UNet's output with its input, pure noise at the highest time."""
    output = predict(noise, noise.new_full((len(noise),), HIGHEST_TIME)).to(noise)
    a, b = noise - noise.mean(), output - output.mean()
    return float((a * b).mean() / (a.square().mean() * b.square().mean()).sqrt())


class _Counted:
    """A UNet whose calls are counted.

    :param watch: called before each
    """

    def __init__(self, predict: Predict, watch: Watch) -> None:
        self._predict, self._watch, self._calls = predict, watch, 0

    def __call__(self, x: Tensor, times: Tensor) -> Tensor:
        self._watch(self._calls, MOST_CALLS)
        self._calls += 1
        return self._predict(x, times)


class _OwnPictures:
    """Pictures that a UNet generates, assuming that it is of a kind.

    :param noise: returns fresh noise
    """

    def __init__(self, kind: str, predict: Predict, noise: Callable[[], Tensor]) -> None:
        self.kind, self._predict, self._noise = kind, predict, noise
        self._picture = noise() * WAY[0]
        self._shares: dict[float, float] = {}
        for sigma, sigma_next in pairwise(WAY):
            denoised = denoise(kind, predict, self._picture, sigma)
            self._picture = denoised + (self._picture - denoised) * (sigma_next / sigma)

    def error(self, levels: Sequence[float]) -> float:
        """Return the error of denoising them again, relative to the noise: the mean over noise levels."""
        for sigma in [level for level in levels if level not in self._shares]:
            noisy = self._picture + sigma * self._noise()
            error = denoise(self.kind, self._predict, noisy, sigma) - self._picture
            self._shares[sigma] = float(error.square().mean().sqrt()) / sigma
        mean = sum(self._shares[level] for level in levels) / len(levels)
        return mean if mean < INFINITE else INFINITE  # NaN too


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
