"""The samplers of k-diffusion, which work on sigmas and predictions of the clean picture."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from modules import devices, sd_schedulers, shared
from modules.libraries import external, sampling
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.sd_samplers_common import Sampler, SamplerData, setup_img2img_steps
from modules.shared import opts

KARRAS, EXPONENTIAL = {"scheduler": "karras"}, {"scheduler": "exponential"}
SECOND, ENSD, BROWNIAN = {"second_order": True}, {"uses_ensd": True}, {"brownian_noise": True}
DISCARD = {"discard_next_to_last_sigma": True}

samplers_k_diffusion = [
    ("DPM++ 2M", "sample_dpmpp_2m", ["k_dpmpp_2m"], KARRAS),
    ("DPM++ SDE", "sample_dpmpp_sde", ["k_dpmpp_sde"], {**KARRAS, **SECOND, **BROWNIAN}),
    ("DPM++ 2M SDE", "sample_dpmpp_2m_sde", ["k_dpmpp_2m_sde"], {**EXPONENTIAL, **BROWNIAN}),
    ("DPM++ 2M SDE Heun", "sample_dpmpp_2m_sde", ["k_dpmpp_2m_sde_heun"], {**EXPONENTIAL, **BROWNIAN, "solver_type": "heun"}),
    ("DPM++ 2S a", "sample_dpmpp_2s_ancestral", ["k_dpmpp_2s_a"], {**KARRAS, **ENSD, **SECOND}),
    ("DPM++ 3M SDE", "sample_dpmpp_3m_sde", ["k_dpmpp_3m_sde"], {**EXPONENTIAL, **DISCARD, **BROWNIAN}),
    ("Euler a", "sample_euler_ancestral", ["k_euler_a", "k_euler_ancestral"], ENSD),
    ("Euler", "sample_euler", ["k_euler"], {}),
    ("LMS", "sample_lms", ["k_lms"], {}),
    ("Heun", "sample_heun", ["k_heun"], SECOND),
    ("DPM2", "sample_dpm_2", ["k_dpm_2"], {**KARRAS, **DISCARD, **SECOND}),
    ("DPM2 a", "sample_dpm_2_ancestral", ["k_dpm_2_a"], {**KARRAS, **DISCARD, **ENSD, **SECOND}),
    ("DPM fast", "sample_dpm_fast", ["k_dpm_fast"], ENSD),
    ("DPM adaptive", "sample_dpm_adaptive", ["k_dpm_ad"], ENSD),
]
CHURN = ["s_churn", "s_tmin", "s_tmax", "s_noise"]
sampler_extra_params = {
    **dict.fromkeys(("sample_euler", "sample_heun", "sample_dpm_2"), CHURN),
    **dict.fromkeys(
        ("sample_dpm_fast", "sample_dpm_2_ancestral", "sample_dpmpp_2s_ancestral", "sample_dpmpp_sde"), ["s_noise"]
    ),
    **dict.fromkeys(("sample_dpmpp_2m_sde", "sample_dpmpp_3m_sde"), ["s_noise"]),
}


class CFGDenoiserKDiffusion(CFGDenoiser):
    @property
    def inner_model(self) -> Any:
        """The k-diffusion denoiser, which a model may bring itself (``create_denoiser``)."""
        if self.model_wrap is None:
            model = shared.sd_model
            make = getattr(model, "create_denoiser", None)
            kind = external.CompVisVDenoiser if model.parameterization == "v" else external.CompVisDenoiser
            self.model_wrap = make() if make is not None else kind(model, quantize=opts.enable_quantization)
        return self.model_wrap


class KDiffusionSampler(Sampler):
    """:param funcname: name of k-diffusion's function, or a function"""

    def __init__(self, funcname: str | Callable[..., Tensor], sd_model: Any, options: dict[str, Any] | None = None) -> None:
        super().__init__(funcname if callable(funcname) else getattr(sampling, funcname))
        self.funcname = funcname
        self.options = {} if options is None else options
        self.extra_params = sampler_extra_params.get(funcname) or []
        denoiser = CFGDenoiserKDiffusion(self)
        self.model_wrap_cfg, self.model_wrap = denoiser, denoiser.inner_model

    def get_sigmas(self, p: Any, steps: int) -> Tensor:
        """The schedule of a pass, from noise to 0, and the generation parameters that tell of it."""
        discard = self.config is not None and self.config.options.get("discard_next_to_last_sigma", False)
        if opts.always_discard_next_to_last_sigma and not discard:
            discard = True
            p.extra_generation_params["Discard penultimate sigma"] = True
        steps += int(discard)
        own = p.sampler_noise_scheduler_override
        sigmas = own(steps) if own else self._scheduled(p, steps)
        if discard:
            sigmas = sigmas[[*range(steps - 1), steps]]
        return sigmas.cpu()

    def _scheduled(self, p: Any, steps: int) -> Tensor:
        name = (p.hr_scheduler if p.is_hr_pass else p.scheduler) or "Automatic"
        if name == "Automatic":
            name = self.config.options.get("scheduler")
        scheduler = sd_schedulers.schedulers_map.get(name)
        if scheduler is None or scheduler.function is None:
            return self.model_wrap.get_sigmas(steps)
        noted = p.extra_generation_params
        if not p.is_hr_pass:
            noted["Schedule type"] = scheduler.label
        elif scheduler.label != noted.get("Schedule type"):
            noted["Hires schedule type"] = scheduler.label
        arguments = {"sigma_min": self.model_wrap.sigmas[0].item(), "sigma_max": self.model_wrap.sigmas[-1].item()}
        for end, key in (("sigma_min", "Schedule min sigma"), ("sigma_max", "Schedule max sigma")):
            chosen = getattr(opts, end)
            if chosen not in (0, arguments[end]):
                arguments[end] = noted[key] = chosen
        if scheduler.default_rho != -1 and opts.rho not in (0, scheduler.default_rho):
            arguments["rho"] = noted["Schedule rho"] = opts.rho
        if scheduler.need_inner_model:
            arguments.update(inner_model=self.model_wrap)
        if scheduler.label == "Beta":
            noted["Beta schedule alpha"], noted["Beta schedule beta"] = opts.beta_dist_alpha, opts.beta_dist_beta
        return scheduler.function(n=steps, **arguments, device=devices.cpu)

    def _arguments(self, p: Any, x: Tensor, all_sigmas: Tensor, of_function: dict[str, Any]) -> dict[str, Any]:
        """Return the function's arguments: ``of_function`` where it has such parameters, eta etc., the noise sampler."""
        arguments = self.initialize(p)
        accepted = inspect.signature(self.func).parameters
        arguments.update({name: value for name, value in of_function.items() if name in accepted})
        if self.config.options.get("brownian_noise", False):
            arguments["noise_sampler"] = self.create_noise_sampler(x, all_sigmas, p)
        if self.config.options.get("solver_type") == "heun":
            arguments["solver_type"] = "heun"
        return arguments

    def sample(
        self, p: Any, x: Tensor, conditioning: Any, unconditional_conditioning: Any, steps: int | None = None,
        image_conditioning: Any = None,
    ) -> Tensor:  # fmt: skip
        """From noise. DPM fast and adaptive go between the ends of the model's table, whatever the schedule."""
        steps = p.steps if steps is None else steps
        sigmas = self.get_sigmas(p, steps)
        x = x * ((1 + sigmas[0].square()).sqrt() if opts.sgm_noise_multiplier else sigmas[0])
        if opts.sgm_noise_multiplier:
            p.extra_generation_params.update({"SGM noise multiplier": True})
        table = self.model_wrap.sigmas
        ends = {"n": steps, "sigma_min": table[0].item(), "sigma_max": table[-1].item(), "sigmas": sigmas}
        arguments = self._arguments(p, x, sigmas, ends)
        self.last_latent = x
        self.sampler_extra_args = self.arguments_of_denoiser(p, conditioning, unconditional_conditioning, image_conditioning)
        return self.run(x, steps, arguments)

    def sample_img2img(
        self, p: Any, x: Tensor, noise: Tensor, conditioning: Any, unconditional_conditioning: Any,
        steps: int | None = None, image_conditioning: Any = None,
    ) -> Tensor:  # fmt: skip
        """From a latent with noise added; also the hires pass."""
        steps, last = setup_img2img_steps(p, steps)
        sigmas = self.get_sigmas(p, steps)
        part = sigmas[steps - last - 1 :]
        add_noise = getattr(shared.sd_model, "add_noise_to_latent", lambda x, noise, amount: x + noise * amount)
        noisy = add_noise(x, noise, part[0])
        ends = {"n": len(part) - 1, "sigma_min": part[-2], "sigma_max": part[0], "sigmas": part, "sigma_sched": part}
        arguments = self._arguments(p, x, sigmas, ends)
        self.model_wrap_cfg.init_latent = self.last_latent = x
        self.sampler_extra_args = self.arguments_of_denoiser(p, conditioning, unconditional_conditioning, image_conditioning)
        return self.run(noisy, last + 1, arguments)


samplers_data_k_diffusion = [
    SamplerData(name, partial(KDiffusionSampler, function), others, options)
    for name, function, others, options in samplers_k_diffusion
]
