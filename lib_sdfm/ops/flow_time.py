"""Running samplers in a flow model's own time instead of k-diffusion's noise levels, or from a lower noise level.

``dx/dt = v = (x - D) / t`` has the form of k-diffusion's ``dy/dsigma = (y - D) / sigma`` with ``sigma = t``. A solver that is
linear in sigma and adds no noise may run in either. In time the first step is no longer than the others, while in sigma
it goes from 10^4 to 30. Euler's method is the same in both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .flow import exploding_to_flow, flow_to_exploding, sigma_to_time, time_to_sigma

Callback = Callable[[dict[str, Any]], None]


class TimedModel:
    """A denoiser of k-diffusion's latents, called with a flow model's latents and times."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, x: Tensor, t: Tensor, **extra_args: Any) -> Tensor:
        """Return the denoised image ``(B, C, H, W)`` for times ``(B,)``."""
        return self._model(flow_to_exploding(x, t.view(-1, 1, 1, 1)), time_to_sigma(t), **extra_args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def in_time(func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a sampler function of k-diffusion that runs in time; its arguments, result and callback stay the same.

    :param func: takes ``model``, ``x``, ``sigmas`` and others
    """

    @functools.wraps(func)
    def sample(model: Any, x: Tensor, sigmas: Tensor, *args: Any, callback: Callback | None = None, **kwargs: Any) -> Tensor:
        times = sigma_to_time(sigmas)

        def heard(info: dict[str, Any]) -> None:
            levels = {name: time_to_sigma(info[name]) for name in ("sigma", "sigma_hat") if name in info}
            callback({**info, **levels, "x": flow_to_exploding(info["x"], info["sigma"])})

        more = {**kwargs, "callback": None if callback is None else heard}
        result = func(TimedModel(model), exploding_to_flow(x, times[0]), times, *args, **more)
        return flow_to_exploding(result, times[-1])

    return sample


def heun_weighted(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> Tensor:
    """Sample with HeunPP2, with every step like its last but one: Heun's method, weighted by ``sigma_next / (2 * sigma)``.

    The original's weights are relative to the schedule's first noise level: first-order steps at three model calls each.
    """
    for i, (sigma, sigma_next) in enumerate(zip(sigmas, sigmas[1:])):
        denoised = model(x, sigma.expand(len(x)), **(extra_args or {}))
        slope, step = (x - denoised) / sigma, sigma_next - sigma
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        if sigma_next > 0:
            ahead = x + slope * step
            slope_next = (ahead - model(ahead, sigma_next.expand(len(x)), **(extra_args or {}))) / sigma_next
            slope = slope + (slope_next - slope) * (sigma_next / sigma / 2)
        x = x + slope * step
    return x


def two_calls(func: Callable[..., Tensor], instead: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a replacement of a sampler function, with its name and signature, marked as making two calls per step."""

    @functools.wraps(func)
    def sample(*args: Any, **kwargs: Any) -> Tensor:
        return instead(*args, **kwargs)

    sample.second_order = True
    return sample


def from_level(func: Callable[..., Tensor], highest: float, lowest: float) -> Callable[..., Tensor]:
    """Return a sampler function that makes its own grid between two noise levels, restricted to a part of them.

    One step of Euler's method goes down to ``highest``, as a logarithmic grid would spend most calls above it.

    :param func: takes ``model``, ``x`` and by name ``sigma_min``, ``sigma_max``, perhaps ``n`` (model calls); or ``sigmas``
    :param highest: noise level at which its grid starts
    :param lowest: minimum noise level at which its grid ends, if it takes ``sigma_min``
    """

    @functools.wraps(func)
    def sample(model: Any, x: Tensor, **others: Any) -> Tensor:
        ends = _level_arguments(others, highest, lowest)
        start = float(others["sigmas"][0] if "sigmas" in others else others["sigma_max"])
        first = float(ends["sigmas"][0]) if "sigmas" in ends else ends.get("sigma_max", start)
        if first < start:
            denoised = model(x, x.new_full((len(x),), start), **(others.get("extra_args") or {}))
            x = denoised + (x - denoised) * (first / start)
        return func(model, x, **{**others, **ends})

    return sample


def _level_arguments(given: dict[str, Any], highest: float, lowest: float) -> dict[str, Any]:
    """Return the changed arguments of a sampler that starts at a lower noise level."""
    if "sigmas" in given:
        sigmas = given["sigmas"]
        below = sigmas[sigmas < highest]
        return {"sigmas": torch.cat([sigmas.new_tensor([highest]), below])} if float(sigmas[0]) > highest else {}
    start, end = float(given["sigma_max"]), max(float(given["sigma_min"]), lowest)
    if not start > highest > end:
        return {"sigma_min": min(end, start), "sigma_max": start}
    calls = {"n": max(given["n"] - 1, 1)} if "n" in given else {}
    return {"sigma_min": end, "sigma_max": highest, **calls}
