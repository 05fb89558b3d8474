"""CFG++ samplers as called by the hosts: with the host's noise, progress bar, and its denoiser's unconditional prediction."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..ops import cfgpp_samplers
from ..ops.descent import Callback, Sampler
from ..sampling.sampler_record import CFG_OF_LAMBDA_1
from ..sampling.samplers import SAMPLERS
from .uncond import DenoiserWithUncond, require_noise_table, sampled_in_time, samples_in_time


@dataclass(frozen=True)
class NamedSampler:
    """A sampler that users choose by name; the CFG scale is lambda.

    :param name: its name, as spelled by reForge
    :param sample: its function
    :param aliases: other WebUIs' spellings
    :param options: its options in the host, see :class:`~lib_sdfm.sampling.sampler_record.SamplerRecord`
    """

    name: str
    sample: Sampler
    aliases: tuple[str, ...]
    options: dict[str, bool]


NAMED_SAMPLERS = tuple(
    NamedSampler(record.name, getattr(cfgpp_samplers, record.functions[0]), record.aliases, dict(record.options))
    for record in SAMPLERS
    if hasattr(cfgpp_samplers, record.functions[0])
)
"""Samplers of the table whose function is ours, in the table's order."""


WithUncond = Callable[..., Any]
"""Makes a guided model of a host's CFG denoiser, see :class:`~lib_sdfm.hosts.uncond.DenoiserWithUncond`."""


def hosted(named: NamedSampler, k_sampling: Any, with_uncond: WithUncond = DenoiserWithUncond) -> Sampler:
    """Return the function that a host calls, with the same signature, as the host chooses its arguments by it.

    :param k_sampling: the host's ``k_diffusion.sampling``, patched by it to draw each image's noise with that image's seed
    :param with_uncond: gives the host's CFG denoiser its unconditional prediction
    """
    adds_noise = "noise_sampler" in inspect.signature(named.sample).parameters

    @functools.wraps(named.sample)
    def sample(model: Any, x: Tensor, sigmas: Tensor, **options: Any) -> Tensor:
        if adds_noise and options.get("noise_sampler") is None:
            options["noise_sampler"] = _noise_sampler(named, k_sampling, x, sigmas)
        with_bar, denoiser = with_progress(named.sample, k_sampling, len(sigmas) - 1), with_uncond(model)
        try:
            if samples_in_time(model):
                return sampled_in_time(with_bar, denoiser, x, sigmas, **options)
            return with_bar(denoiser, x, sigmas, **options)
        finally:
            denoiser.detach()

    return sample


def _noise_sampler(named: NamedSampler, k_sampling: Any, x: Tensor, sigmas: Tensor) -> Any:
    if named.options.get("brownian_noise"):
        return k_sampling.BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max())
    return k_sampling.default_noise_sampler(x)


def with_progress(sample: Sampler, k_sampling: Any, steps: int) -> Sampler:
    """Return the sampler with k-diffusion's progress bar on the console, advanced by each callback."""

    def sample_with_bar(*args: Any, callback: Callback | None = None, disable: bool | None = None, **options: Any) -> Tensor:
        with k_sampling.trange(steps, disable=disable) as bar:

            def heard(info: dict[str, Any]) -> None:
                if callback is not None:
                    callback(info)
                bar.update()

            return sample(*args, callback=heard, **options)

    return sample_with_bar


DDIM_CFGPP = "DDIM CFG++ (CFG/12.5)"
"""Name of A1111's DDIM CFG++ on a host whose own DDIM CFG++ doesn't divide the CFG scale."""


def hosted_ddim(k_sampling: Any, with_uncond: WithUncond = DenoiserWithUncond) -> Callable[..., Tensor]:
    """Return A1111's DDIM CFG++ for Forge, as a timestep sampler: DDIM is Euler in k-diffusion's noise levels.

    :param k_sampling: see :func:`hosted`
    :param with_uncond: see :func:`hosted`
    """

    @torch.no_grad()
    def ddim_cfgpp(
        model: Any,
        x: Tensor,
        timesteps: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Callback | None = None,
        disable: bool | None = None,
        eta: float = 0.0,
    ) -> Tensor:
        """Sample with CFG++ on DDIM; lambda is CFG / 12.5, and other guidance is divided as well."""
        require_noise_table(model, DDIM_CFGPP)
        down = timesteps.flip(0)
        alpha_bars = model.inner_model.inner_model.alphas_cumprod.cpu()[down.cpu()].double()  # not every device has doubles
        sigmas = ((1 - alpha_bars) / alpha_bars) ** 0.5
        denoiser = _DividedGuidance(model, sigmas.tolist(), down.tolist(), with_uncond)
        sample = with_progress(cfgpp_samplers.sample_euler_ancestral_cfgpp, k_sampling, len(sigmas) - 1)
        options = {"extra_args": extra_args, "callback": callback, "disable": disable, "eta": eta}
        x = x / float(alpha_bars[0]) ** 0.5
        try:
            x = sample(denoiser, x, sigmas, noise_sampler=k_sampling.default_noise_sampler(x), **options)
        finally:
            denoiser.detach()
        return x * float(alpha_bars[-1]) ** 0.5

    return ddim_cfgpp


class _DividedGuidance:
    """Forge's denoiser of timestep samplers, which returns noise, in k-diffusion's noise levels and with divided guidance.

    :param sigmas: noise levels of ``timesteps``
    :param with_uncond: see :func:`hosted`
    """

    def __init__(self, denoiser: Any, sigmas: list[float], timesteps: list[int], with_uncond: WithUncond) -> None:
        self._denoiser, self._sigmas, self._timesteps = denoiser, sigmas, timesteps
        self._guided = with_uncond(denoiser, self._predict)
        self.last_uncond: Tensor

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        denoised = self._guided(x, sigma, **extra_args)
        self.last_uncond = self._guided.last_uncond
        return self.last_uncond + (denoised - self.last_uncond) / CFG_OF_LAMBDA_1

    def detach(self) -> None:
        """Restore everything; may be called again."""
        self._guided.detach()

    def _predict(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        level = float(sigma[0])
        step = min(range(len(self._sigmas)), key=lambda i: abs(self._sigmas[i] - level))
        scaled = x / (level**2 + 1) ** 0.5
        noise = self._denoiser(scaled, torch.full_like(sigma, self._timesteps[step]), **extra_args)
        return x - noise * level
