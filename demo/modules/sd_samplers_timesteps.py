"""The samplers that work on timesteps and noise predictions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from modules import sd_samplers_timesteps_impl, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.sd_samplers_common import Sampler, SamplerData, setup_img2img_steps
from modules.shared import opts

samplers_timesteps = [
    ("DDIM", sd_samplers_timesteps_impl.ddim, ["ddim"], {}),
    ("DDIM CFG++", sd_samplers_timesteps_impl.ddim_cfgpp, ["ddim_cfgpp"], {}),
]


class CompVisTimestepsDenoiser(torch.nn.Module):
    """A model as noise prediction. It has no ``sigmas``: the refiner's switch knows timestep samplers by that."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner_model = model

    def forward(self, x: Tensor, timesteps: Tensor, cond: Any) -> Tensor:
        return self.inner_model.apply_model(x, timesteps, cond)


class CompVisTimestepsVDenoiser(CompVisTimestepsDenoiser):
    """The same of a model that predicts v."""

    def forward(self, x: Tensor, timesteps: Tensor, cond: Any) -> Tensor:
        alpha = self.inner_model.alphas_cumprod[timesteps.int()][:, None, None, None]
        return alpha.sqrt() * self.inner_model.apply_model(x, timesteps, cond) + (1 - alpha).sqrt() * x


class CFGDenoiserTimesteps(CFGDenoiser):
    def __init__(self, sampler: Any) -> None:
        super().__init__(sampler)
        self.alphas = shared.sd_model.alphas_cumprod  # the table of this moment
        self.mask_before_denoising = True

    @property
    def inner_model(self) -> Any:
        if self.model_wrap is None:
            is_v = shared.sd_model.parameterization == "v"
            self.model_wrap = (CompVisTimestepsVDenoiser if is_v else CompVisTimestepsDenoiser)(shared.sd_model)
        return self.model_wrap

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        alpha = self.alphas[sigma.int()][:, None, None, None]
        return (x_in - (1 - alpha).sqrt() * x_out) / alpha.sqrt()


class CompVisSampler(Sampler):
    """:param funcname: the function"""

    def __init__(self, funcname: Callable[..., Tensor], sd_model: Any) -> None:
        super().__init__(funcname)
        self.eta_option_field, self.eta_infotext_field, self.eta_default = "eta_ddim", "Eta DDIM", 0.0
        self.model_wrap_cfg = CFGDenoiserTimesteps(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_timesteps(self, p: Any, steps: int) -> Tensor:
        """Every so many of 1000, from 1: 48 steps give 50 of them, and 49 model calls."""
        if opts.always_discard_next_to_last_sigma:
            p.extra_generation_params["Discard penultimate sigma"] = True
            steps += 1
        return torch.arange(0, 1000, 1000 // steps).add(1).clamp(0, 999)

    def _sample(self, p: Any, x: Tensor, steps: int, timesteps: Tensor, conds: tuple[Any, Any, Any], start: Tensor) -> Tensor:
        arguments = self.initialize(p)
        if "timesteps" in inspect.signature(self.func).parameters:
            arguments["timesteps"] = timesteps
        self.last_latent = start
        self.sampler_extra_args = self.arguments_of_denoiser(p, *conds)
        return self.run(x, steps, arguments)

    def sample(
        self, p: Any, x: Tensor, conditioning: Any, unconditional_conditioning: Any, steps: int | None = None,
        image_conditioning: Any = None,
    ) -> Tensor:  # fmt: skip
        steps = steps or p.steps
        conds = (conditioning, unconditional_conditioning, image_conditioning)
        return self._sample(p, x, steps, self.get_timesteps(p, steps), conds, x)

    def sample_img2img(
        self, p: Any, x: Tensor, noise: Tensor, conditioning: Any, unconditional_conditioning: Any,
        steps: int | None = None, image_conditioning: Any = None,
    ) -> Tensor:  # fmt: skip
        steps, last = setup_img2img_steps(p, steps)
        timesteps = self.get_timesteps(p, steps)
        alpha = shared.sd_model.alphas_cumprod[timesteps[last]]
        noisy = x * alpha.sqrt() + noise * (1 - alpha).sqrt()
        self.model_wrap_cfg.init_latent = x
        conds = (conditioning, unconditional_conditioning, image_conditioning)
        return self._sample(p, noisy, last + 1, timesteps[:last], conds, x)


samplers_data_timesteps = [
    SamplerData(label, partial(CompVisSampler, function), aliases, options)
    for label, function, aliases, options in samplers_timesteps
]
