"""What the host will do with the values of its panel: the calls of the pass in which a refiner takes over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from lib_sdfm.hosts.rehearsal import expected_calls, rehearse
from lib_sdfm.prompts.report import Expected

SAME = ("Use same sampler", "Use same scheduler", None, "")
FIRST, SECOND = "first pass", "second pass"


@dataclass(frozen=True)
class HostSchedule:
    """Asks the host's own samplers for their schedules.

    :param samplers: the host's ``modules.sd_samplers``
    :param common: the host's ``modules.sd_samplers_common``
    :param opts: the host's settings
    :param model: gives the loaded model, ``None`` if there is none
    :param goes_by_calls: whether this host knows no other way for a refiner
    """

    samplers: Any
    common: Any
    opts: Any
    model: Callable[[], Any]
    goes_by_calls: bool

    def __call__(self, values: Mapping[str, Any]) -> Expected | None:
        """The expected calls for the values of the controls, ``None`` if nobody can tell."""
        model = self.model()
        if model is None:
            return None
        try:
            return self._expected(model, values)
        except Exception:  # a sampler of another extension may want more than this; the line does without
            return None

    def _expected(self, model: Any, values: Mapping[str, Any]) -> Expected | None:
        p, name, steps = self._pass(values)
        sampler = self.samplers.create_sampler(p.sampler_name, model)
        in_timesteps = hasattr(sampler, "get_timesteps")
        points_of = sampler.get_timesteps if in_timesteps else sampler.get_sigmas
        made = p.steps
        if p.denoising_strength is None:
            points = points_of(p, p.steps)
        else:
            steps, last = self.common.setup_img2img_steps(p, steps)
            points = points_of(p, steps)
            points, made = points[:last] if in_timesteps else points[steps - last - 1 :], last + 1
        told = {"eta": getattr(self.opts, sampler.eta_option_field, 0.0)}
        if not in_timesteps:  # as the host's own call of the sampler's function has them
            whole = p.denoising_strength is None
            lowest, highest = (sampler.model_wrap.sigmas[place] for place in (0, -1)) if whole else (points[-2], points[0])
            told |= {"sigma_min": lowest, "sigma_max": highest}
        levels = rehearse(sampler, points, **told)
        if levels is None:
            return None
        by_calls = self.goes_by_calls or self.opts.refiner_switch_by_sample_steps
        alphas = sampler.model_wrap_cfg.alphas if in_timesteps else None
        table = None if by_calls else alphas if in_timesteps else sampler.model_wrap.sigmas
        return Expected(name, made, expected_calls(levels, sampler.config.total_steps(made), table, alphas))

    def _pass(self, values: Mapping[str, Any]) -> tuple[Any, str, int | None]:
        """The pass in which the refiner takes over: what samplers want to know of it, its name, its steps if fixed."""
        hires = bool(values.get("hires")) and self.opts.hires_fix_refiner_pass == SECOND
        sampler, scheduler = values["sampler"], values["scheduler"]
        p = SimpleNamespace(
            sampler_name=values.get("hires_sampler") if hires and values.get("hires_sampler") not in SAME else sampler,
            scheduler=scheduler,
            hr_scheduler=values.get("hires_scheduler") if values.get("hires_scheduler") not in SAME else scheduler,
            is_hr_pass=hires,
            steps=int(values["steps"]),
            denoising_strength=float(values["strength"]) if hires or "hires" not in values else None,
            extra_generation_params={},
            sampler_noise_scheduler_override=None,
        )
        if not hires:
            return p, FIRST if values.get("hires") else "run", None
        return p, "hires pass", int(values.get("hires_steps") or p.steps)
