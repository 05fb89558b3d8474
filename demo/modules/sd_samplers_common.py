"""The common part of all samplers, and the refiner's switch."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from modules import libraries, sd_models, shared
from modules.shared import opts, state

SIGMA_PARAMETERS = {"s_churn": "Sigma churn", "s_tmin": "Sigma tmin", "s_tmax": "Sigma tmax", "s_noise": "Sigma noise"}


class SamplerData(namedtuple("SamplerData", ["name", "constructor", "aliases", "options"])):
    """A sampler that can be chosen."""

    def total_steps(self, steps: int) -> int:
        """Expected calls of the denoiser."""
        return steps * 2 if self.options.get("second_order", False) else steps


class InterruptedException(BaseException):
    """Ends sampling early; not an ``Exception``, so that nobody swallows it."""


def setup_img2img_steps(p: Any, steps: int | None = None) -> tuple[int, int]:
    """Steps of the whole schedule, and how many of its last ones (less one) are sampled."""
    if not opts.img2img_fix_steps and steps is None:
        return p.steps, int(min(p.denoising_strength, 0.999) * p.steps)
    wanted = steps or p.steps
    return (int(wanted / min(p.denoising_strength, 0.999)) if p.denoising_strength > 0 else 0), wanted - 1


def _is_in_other_pass(p: Any) -> bool:
    """Return True if the refiner belongs to the other of two passes; note an unusual choice."""
    if not getattr(p, "enable_hr", False):
        return False
    if opts.hires_fix_refiner_pass == ("first pass" if p.is_hr_pass else "second pass"):
        return True
    if opts.hires_fix_refiner_pass != "second pass":
        p.extra_generation_params["Hires refiner"] = opts.hires_fix_refiner_pass
    return False


def apply_refiner(cfg_denoiser: Any, sigma: Tensor | None = None) -> bool:
    """Changes to the refiner's checkpoint if its time has come. Conds are rebuilt at the change.

    Done is what part of the model's 1000 timesteps lies behind, or of the calls if the option says so.
    """
    p = cfg_denoiser.p
    if opts.refiner_switch_by_sample_steps or sigma is None:
        done = cfg_denoiser.step / cfg_denoiser.total_steps
        p.extra_generation_params["Refiner switch by sampling steps"] = True
    else:
        try:
            timestep = int((cfg_denoiser.inner_model.sigmas - sigma.max()).abs().argmin())
        except AttributeError:  # samplers that count in timesteps
            timestep = int(sigma.max())
        done = (999 - timestep) / 1000
    refiner = p.refiner_checkpoint_info
    if p.refiner_switch_at is not None and done < p.refiner_switch_at:
        return False
    if refiner is None or shared.sd_model.sd_checkpoint_info == refiner or _is_in_other_pass(p):
        return False
    p.extra_generation_params["Refiner"] = refiner.short_title
    p.extra_generation_params["Refiner switch at"] = p.refiner_switch_at
    with sd_models.SkipWritingToConfig():
        sd_models.reload_model_weights(info=refiner)
    p.setup_conds()
    cfg_denoiser.update_inner_model()
    return True


class _TorchWithNoise:
    """k-diffusion's ``torch`` while it samples: ``randn_like`` draws each picture's noise from its own seed."""

    def __init__(self, rng: Any) -> None:
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def randn_like(self, x: Tensor) -> Tensor:
        return self._rng.next()


@contextmanager
def noise_by_seed(p: Any) -> Iterator[None]:
    libraries.sampling.torch = _TorchWithNoise(p.rng)
    try:
        yield
    finally:
        libraries.sampling.torch = torch


class Sampler:
    """One sampler of one job.

    :param func: the function that samples; looked up on the instance when it starts, so that it can be wrapped
    """

    def __init__(self, func: Callable[..., Tensor]) -> None:
        self.funcname = self.func = func
        self.extra_params: list[str] = []
        self.stop_at: int | None = None
        self.config: Any = None
        self.last_latent: Any = None
        self.eta: float | None = None
        self.eta_option_field, self.eta_infotext_field, self.eta_default = "eta_ancestral", "Eta", 1.0
        self.s_min_uncond = 0.0
        self.s_churn, self.s_tmin, self.s_tmax, self.s_noise = 0.0, 0.0, float("inf"), 1.0
        self.p = self.model_wrap_cfg = self.model_wrap = self.sampler_extra_args = None
        self.options: dict[str, Any] = {}

    def callback_state(self, info: dict[str, Any]) -> None:
        """Heard after the first call of a step: so the counter is 0 at calls 0 and 1, then lags by one."""
        state.sampling_step = info["i"]
        if self.stop_at is not None and self.stop_at < info["i"]:
            raise InterruptedException

    def launch_sampling(self, steps: int, func: Callable[[], Tensor]) -> Tensor:
        """Runs it. An interrupt gives the last prediction for the prompts (not the guided one)."""
        self.model_wrap_cfg.steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        state.sampling_steps, state.sampling_step = steps, 0
        try:
            with noise_by_seed(self.p):
                return func()
        except (RecursionError, InterruptedException):
            return self.last_latent

    def initialize(self, p: Any) -> dict[str, Any]:
        """Prepares the denoiser; returns what the sampler's function takes of eta and the sigma parameters."""
        self.p = p
        denoiser = self.model_wrap_cfg
        denoiser.p, denoiser.step = p, 0
        denoiser.mask, denoiser.nmask = getattr(p, "mask", None), getattr(p, "nmask", None)
        self.eta = p.eta if p.eta is not None else getattr(opts, self.eta_option_field, 0.0)
        self.s_min_uncond = getattr(p, "s_min_uncond", 0.0)
        accepted = inspect.signature(self.func).parameters
        arguments: dict[str, Any] = {}
        if "eta" in accepted:
            if self.eta != self.eta_default:
                p.extra_generation_params[self.eta_infotext_field] = self.eta
            arguments["eta"] = self.eta
        for name in self.extra_params:
            if name in accepted:
                arguments[name] = self._sigma_parameter(p, name)
        return arguments

    def _sigma_parameter(self, p: Any, name: str) -> float:
        """The setting's value, else that of the job; noted where it isn't the usual one."""
        value = getattr(opts, name, getattr(p, name))
        if name == "s_tmax":
            value = value or float("inf")
        if value == getattr(self, name):
            return getattr(p, name)
        setattr(p, name, value)
        p.extra_generation_params[SIGMA_PARAMETERS[name]] = value
        return value

    def arguments_of_denoiser(self, p: Any, conditioning: Any, unconditional: Any, image_cond: Any) -> dict[str, Any]:
        return {
            "cond": conditioning, "image_cond": image_cond, "uncond": unconditional, "cond_scale": p.cfg_scale,
            "s_min_uncond": self.s_min_uncond,
        }  # fmt: skip

    def run(self, x: Tensor, steps: int, arguments: dict[str, Any]) -> Tensor:
        """Calls the function with the denoiser, with ``callback`` and ``extra_args`` as keywords."""
        samples = self.launch_sampling(
            steps,
            lambda: self.func(
                self.model_wrap_cfg,
                x,
                extra_args=self.sampler_extra_args,
                disable=True,
                callback=self.callback_state,
                **arguments,
            ),
        )
        if self.model_wrap_cfg.padded_cond_uncond:
            self.p.extra_generation_params["Pad conds"] = True
        return samples

    def create_noise_sampler(self, x: Tensor, sigmas: Tensor, p: Any) -> Any:
        """Brownian noise by the seed of each picture."""
        if opts.no_dpmpp_sde_batch_determinism:
            return None
        seeds = p.all_seeds[p.iteration * p.batch_size : (p.iteration + 1) * p.batch_size]
        positive = sigmas[sigmas > 0]
        return libraries.sampling.BrownianTreeNoiseSampler(x, positive.min(), sigmas.max(), seed=seeds)
