"""What samplers share that renoise with the uncond prediction: the walk down the noise levels, and a step's noise levels.

The samplers have k-diffusion's signature, ``sample(model, x, sigmas, extra_args, callback, disable, ...)``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import Signature, signature
from typing import Any, Protocol

import torch
from torch import Tensor

Callback = Callable[[dict[str, Any]], None]
NoiseSampler = Callable[[Tensor, Tensor], Tensor]
"""Noise of unit variance, ``(B, C, H, W)``, for the way from one noise level to the next."""


class GuidedModel(Protocol):
    """A denoiser that guides, and tells what it predicted without the prompt.

    :param last_uncond: the uncond prediction of the last call, ``(B, C, H, W)``
    """

    last_uncond: Tensor

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        """The guided denoised image ``(B, C, H, W)`` for noise levels ``(B,)``."""


@dataclass(frozen=True)
class Level:
    """One step of a sampler.

    :param sigma: noise level at its start
    :param sigma_next: noise level at its end
    :param denoised: the guided prediction at its start, ``(B, C, H, W)``
    :param uncond: the uncond prediction at its start
    """

    sigma: float
    sigma_next: float
    denoised: Tensor
    uncond: Tensor

    @property
    def ratio(self) -> float:
        """How far the step goes down."""
        return self.sigma_next / self.sigma

    @property
    def length(self) -> float:
        """The step's length in ``-log(sigma)``."""
        return math.log(self.sigma / self.sigma_next) if self.sigma_next else math.inf


class Descent:
    """One run of a sampler: iterating over it calls the model, and the callback, once a step.

    :param x: the noisy latent where it starts, ``(B, C, H, W)``; as it is now
    :param sigmas: noise levels, descending, ``(steps + 1,)``
    :param s_noise: factor of the noise that is added
    :param noise_sampler: gives that noise; without one it is random
    """

    def __init__(
        self,
        model: GuidedModel,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Callback | None = None,
        s_noise: float = 1.0,
        noise_sampler: NoiseSampler | None = None,
    ) -> None:
        self.x = x
        self._model, self._sigmas, self._extra_args, self._callback = model, sigmas, extra_args or {}, callback
        self._s_noise = s_noise
        self._noise_sampler = noise_sampler or (lambda sigma, sigma_next: torch.randn_like(x))

    def __iter__(self) -> Iterator[Level]:
        levels = self._sigmas.tolist()
        for i, (sigma, sigma_next) in enumerate(zip(levels, levels[1:])):
            denoised, uncond = self.predict(self.x, sigma)
            if self._callback is not None:
                at = self._sigmas[i]
                self._callback({"x": self.x, "i": i, "sigma": at, "sigma_hat": at, "denoised": denoised})
            yield Level(sigma, sigma_next, denoised, uncond)

    def predict(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The guided and the uncond prediction for a latent."""
        denoised = self._model(x, x.new_full((len(x),), sigma), **self._extra_args)
        return denoised, self._model.last_uncond

    def noise(self, sigma: float, sigma_next: float, level: float) -> Tensor | float:
        """The noise of a level that is added between two noise levels; nothing is drawn where it is 0."""
        if level * self._s_noise == 0:
            return 0.0
        ends = self._sigmas.new_tensor([sigma, sigma_next])
        return self._noise_sampler(ends[0], ends[1]) * (level * self._s_noise)


Sampler = Callable[..., Tensor]


def sampler(advance: Callable[..., None]) -> Sampler:
    """Makes a sampler with k-diffusion's signature of a function that moves ``x`` down the steps of a descent.

    :param advance: takes the descent, then the sampler's own parameters; if ``eta`` is among them it adds noise, and
        ``s_noise`` and ``noise_sampler`` become parameters as well
    """
    own = list(signature(advance).parameters.values())[1:]
    noise = signature(_noise_parameters).parameters.values() if any(parameter.name == "eta" for parameter in own) else ()
    whole = Signature([*signature(_shared_parameters).parameters.values(), *own, *noise])

    @torch.no_grad()
    @functools.wraps(advance)
    def sample(*args: Any, **kwargs: Any) -> Tensor:
        given = whole.bind(*args, **kwargs).arguments
        given.pop("disable", None)  # it shows no progress of its own
        options = {parameter.name: given.pop(parameter.name) for parameter in own if parameter.name in given}
        descent = Descent(**given)
        advance(descent, **options)
        return descent.x

    sample.__signature__ = whole
    return sample


def _shared_parameters(
    model: GuidedModel,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> None:
    """What every sampler takes."""


def _noise_parameters(s_noise: float = 1.0, noise_sampler: NoiseSampler | None = None) -> None:
    """What samplers take that add noise."""


def cfgpp_step(x: Tensor, denoised: Tensor, uncond: Tensor, ratio: float) -> Tensor:
    """``denoised + ratio * (x - uncond)``: CFG++'s step (arXiv 2406.08070, algorithm 2; here with noise levels sigma).

    :param ratio: noise level where the step ends over the one where it starts
    """
    return denoised + (x - uncond) * ratio


def denoised_for_uncond_renoise(denoised: Tensor, uncond: Tensor, ratio: float) -> Tensor:
    """The denoised image on which a sampler's own first-order step, ``D + ratio * (x - D)``, is CFG++'s step.

    ``uncond + (denoised - uncond) / (1 - ratio)``; see :func:`cfgpp_step`.

    :param ratio: as there, below 1
    """
    return uncond + (denoised - uncond) / (1.0 - ratio)


def ancestral_levels(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """The noise level that an ancestral step goes down to, and the level of the noise that it adds afterwards.

    ``up^2 = eta^2 * sigma_next^2 * (sigma^2 - sigma_next^2) / sigma^2`` and ``down^2 + up^2 = sigma_next^2``
    (DDIM, arXiv 2010.02502, equation 16, with noise levels sigma).
    """
    up = min(sigma_next, eta * sigma_next * math.sqrt(max(1.0 - (sigma_next / sigma) ** 2, 0.0)))
    return math.sqrt(sigma_next**2 - up**2), up
