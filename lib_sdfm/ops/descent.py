"""Common parts of samplers that renoise with the unconditional prediction: the loop over steps, and their noise levels.

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
"""Sampler of unit-variance noise, ``(B, C, H, W)``, between one noise level and the next."""


class GuidedModel(Protocol):
    """A denoiser that applies guidance, and provides its unconditional prediction.

    :param last_uncond: the unconditional prediction of the last call, ``(B, C, H, W)``
    """

    last_uncond: Tensor

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        """Return the guided denoised image ``(B, C, H, W)`` for noise levels ``(B,)``."""


@dataclass(frozen=True)
class Level:
    """One step of a sampler.

    :param sigma: noise level at its start
    :param sigma_next: noise level at its end
    :param denoised: the guided prediction at its start, ``(B, C, H, W)``
    :param uncond: the unconditional prediction at its start
    """

    sigma: float
    sigma_next: float
    denoised: Tensor
    uncond: Tensor

    @property
    def ratio(self) -> float:
        """The step ratio: noise level at its end over the one at its start."""
        return self.sigma_next / self.sigma

    @property
    def length(self) -> float:
        """The step size in ``-log(sigma)``."""
        return math.log(self.sigma / self.sigma_next) if self.sigma_next else math.inf


class Descent:
    """One run of a sampler: iterating over it calls the model and the callback once per step.

    :param x: the noisy latent at the start, ``(B, C, H, W)``; later the current one
    :param sigmas: noise levels, descending, ``(steps + 1,)``
    :param s_noise: factor of the added noise
    :param noise_sampler: returns that noise; by default it is random
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
            if sigma == 0:  # some schedules of the WebUIs end with two zeros: nothing is left to remove
                return
            denoised, uncond = self.predict(self.x, sigma)
            if self._callback is not None:
                at = self._sigmas[i]
                self._callback({"x": self.x, "i": i, "sigma": at, "sigma_hat": at, "denoised": denoised})
            yield Level(sigma, sigma_next, denoised, uncond)

    def predict(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """Return the guided and the unconditional prediction for a latent."""
        denoised = self._model(x, x.new_full((len(x),), sigma), **self._extra_args)
        return denoised, self._model.last_uncond

    def noise(self, sigma: float, sigma_next: float, level: float) -> Tensor | float:
        """Return the noise of a level that is added between two noise levels; at level 0 none is drawn."""
        if level * self._s_noise == 0:
            return 0.0
        ends = self._sigmas.new_tensor([sigma, sigma_next])
        return self._noise_sampler(ends[0], ends[1]) * (level * self._s_noise)


Sampler = Callable[..., Tensor]


def sampler(advance: Callable[..., None]) -> Sampler:
    """Turn a function that moves ``x`` through the steps of a descent into a sampler with k-diffusion's signature.

    :param advance: takes the descent, then the sampler's own parameters; if ``eta`` is among them the sampler adds noise,
        and also gets the parameters ``s_noise`` and ``noise_sampler``
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
    """Declare the parameters of every sampler."""


def _noise_parameters(s_noise: float = 1.0, noise_sampler: NoiseSampler | None = None) -> None:
    """Declare the parameters of samplers that add noise."""


def cfgpp_step(x: Tensor, denoised: Tensor, uncond: Tensor, ratio: float) -> Tensor:
    """Return ``denoised + ratio * (x - uncond)``: CFG++'s step (arXiv 2406.08070, algorithm 2; here with noise levels sigma).

    :param ratio: noise level at the end of the step over the one at its start
    """
    return denoised + (x - uncond) * ratio


def denoised_for_uncond_renoise(denoised: Tensor, uncond: Tensor, ratio: float) -> Tensor:
    """Return the denoised image for which a sampler's own first-order step, ``D + ratio * (x - D)``, is CFG++'s step.

    ``uncond + (denoised - uncond) / (1 - ratio)``; see :func:`cfgpp_step`.

    :param ratio: as there, below 1
    """
    return uncond + (denoised - uncond) / (1.0 - ratio)


def ancestral_levels(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """Return the noise level to which an ancestral step goes down, and the level of the noise that it adds afterwards.

    ``up^2 = eta^2 * sigma_next^2 * (sigma^2 - sigma_next^2) / sigma^2`` and ``down^2 + up^2 = sigma_next^2``
    (DDIM, arXiv 2010.02502, equation 16, with noise levels sigma).
    """
    up = min(sigma_next, eta * sigma_next * math.sqrt(max(1.0 - (sigma_next / sigma) ** 2, 0.0)))
    return math.sqrt(sigma_next**2 - up**2), up
