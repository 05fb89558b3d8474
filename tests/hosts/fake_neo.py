"""A small stand-in for what Forge Neo does otherwise than Forge, written from what that WebUI was observed to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lib_sdfm.hosts.cross_attention import TextHost
from lib_sdfm.hosts.forge.run_pass import ForgePass
from lib_sdfm.ops.flow import shift_time, velocity_to_denoised
from lib_sdfm.sampling.host_flow import HostFlow
from lib_sdfm.sampling.plan import Plan
from tests.hosts.fake_a1111 import Processing, get_learned_conditioning
from tests.hosts.fake_forge import ForgeHost, calc_cond_uncond_batch

NEO = HostFlow(adds_noise_right=True)
DIMENSIONS = (-1, 1, 1, 1)


class RectifiedPredictor(nn.Module):
    """The predictor of a flow model that the host samples itself: levels are times, latents ``(1 - t) * x0 + t * noise``."""

    prediction_type = "const"

    def __init__(self, shift: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("sigmas", shift_time(torch.arange(1, 1001) / 1000, shift))

    @property
    def alphas_cumprod(self) -> Tensor:
        return 1 / (self.sigmas**2 + 1)

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        return x

    def calculate_denoised(self, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
        return velocity_to_denoised(output, x, sigma.view(DIMENSIONS))

    def timestep(self, sigma: Tensor) -> Tensor:
        return sigma * 1000


def sample_euler_ancestral(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Callable, disable: bool, eta: float = 1.0,
    noise_sampler: Any = None,
) -> Tensor:  # fmt: skip
    """Euler a with such a model: a step to a lower time, and noise up to the next one."""
    times = sigmas.tolist()
    for i, (t, t_next) in enumerate(zip(times, times[1:])):
        denoised = model(x, t * x.new_ones(len(x)), **extra_args)
        callback({"i": i})
        down = t_next * (1 + (t_next / t - 1) * eta)
        x = noised_from(denoised + (x - denoised) * (down / t), down, t_next, noise_sampler)
    return x


def noised_from(x: Tensor, t: float, t_next: float, noise_sampler: Any) -> Tensor:
    """A latent of one time, brought to a later one by noise."""
    if t == t_next:
        return x
    kept = (1 - t_next) / (1 - t)
    return x * kept + noise_sampler(t, t_next) * (t_next**2 - (t * kept) ** 2) ** 0.5


def sample_euler_cfg_pp(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Callable, disable: bool, eta: float = 0.0,
    noise_sampler: Any = None,
) -> Tensor:  # fmt: skip
    """The host's own Euler CFG++: with a function behind all others, which sees the unconditional prediction.

    :param eta: above 0 it is Euler a with CFG++
    """
    seen: list[Tensor] = []

    def see(args: dict[str, Any]) -> Tensor:
        seen.append(args["uncond_denoised"])
        return args["denoised"]

    times = sigmas.tolist()
    extra_args["model_options"] = {"sampler_post_cfg_function": [see], "disable_cfg1_optimization": True}
    for i, (t, t_next) in enumerate(zip(times, times[1:])):
        denoised = model(x, t * x.new_ones(len(x)), **extra_args)
        callback({"i": i})
        down = t_next * (1 + (t_next / t - 1) * eta)
        x = denoised * (1 - down) + (x - seen[-1] * (1 - t)) * (down / t)
        x = noised_from(x, down, t_next, noise_sampler)
    return x


def sample_unipc(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Callable, disable: bool) -> Tensor:
    """UniPC in the schedule's levels, here of first order: one call in each step, and then the callback."""
    levels = sigmas.tolist()
    for i, (level, following) in enumerate(zip(levels, levels[1:])):
        denoised = model(x, level * x.new_ones(len(x)), **extra_args)
        x = denoised + (x - denoised) * (following / level)
        callback({"i": i})
    return x


def sample_res_multistep(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Callable, disable: bool) -> Tensor:
    """Res Multistep, here of first order as well."""
    return sample_unipc(model, x, sigmas, extra_args, callback, disable)


class NeoHost(ForgeHost):
    """Forge Neo with a rectified checkpoint.

    ``times`` are those of its schedule, if they are not the usual ones.
    """

    sampler_functions = {
        **ForgeHost.sampler_functions,
        "Euler a": (sample_euler_ancestral, {}),
        "Euler CFG++": (sample_euler_cfg_pp, {}),
        "UniPC": (sample_unipc, {}),
        "Res Multistep": (sample_res_multistep, {}),
    }
    times: Tensor | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sd_model.kmodel.predictor = RectifiedPredictor()

    def noised(self, image: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return image * (1 - sigma) + noise * sigma

    def before_pass(self, p: Processing) -> None:
        if self.times is not None:
            p.sampler.get_sigmas = lambda steps: self.times
        super().before_pass(p)

    def new_pass(self, plan: Plan, p: Processing) -> ForgePass:
        return ForgePass(plan, p, calc_cond_uncond_batch, TextHost(get_learned_conditioning), NEO)
