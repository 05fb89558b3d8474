"""Prediction of the model calls of the pass in which a refiner takes over, from the values of the host's panel.

A job may be sampling in another thread at the same time. So no sampler is made or run here, no noise is drawn, and only
the model's noise table is read: the schedule comes from the host, the rest from the table of samplers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from lib_sdfm.errors import UserError
from lib_sdfm.hosts.kind_pass import KindUse
from lib_sdfm.hosts.model_kind import LevelTable, unet_time
from lib_sdfm.hosts.refiner import ALIKE, RefinerRule
from lib_sdfm.ops.v_prediction import with_zero_terminal_snr
from lib_sdfm.prompts.expected import expected_calls
from lib_sdfm.prompts.report import Expected
from lib_sdfm.sampling.model_kind import FLOW, V
from lib_sdfm.sampling.sampler_names import resolve_sampler
from lib_sdfm.sampling.sampler_record import SamplerRecord
from lib_sdfm.techniques.flow import AUTO, ON
from lib_sdfm.techniques.model_kind import AUTOMATIC

from .flow_levels import FlowLevels
from .noise_tables import UnknownSchedule
from .samplers import SamplerModules

SAME = ("Use same sampler", "Use same scheduler", "Use same checkpoint", None, "")
FIRST, SECOND = "first pass", "second pass"
UNIFORM = "time_uniform"
PURE_NOISE = 100.0
"""Noise level above those of Stable Diffusion's own table."""
HOST_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions that a schedule of the host or of another extension may raise for the current values."""


@dataclass(frozen=True)
class HostSchedule:
    """Schedules computed by the host.

    :param modules: the host's sampler modules
    :param opts: the host's settings
    :param model: returns the loaded model, ``None`` if there is none
    :param denoiser: makes the denoiser that the host's schedules read, from the loaded model and the sampler's row
    :param goes_by_calls: true if this host always counts model calls for a refiner, never the model's time
    :param is_flow: true if the loaded checkpoint is remembered as a flow model
    :param rule: returns how this host goes over to a refiner
    :param is_chosen: returns True if a name is that of the checkpoint with which jobs begin
    :param own_schedules: returns True if an entry of the host's samplers makes its schedule from a loaded model
    """

    modules: SamplerModules
    opts: Any
    model: Callable[[], Any]
    denoiser: Callable[[Any, SamplerRecord], Any]
    goes_by_calls: bool
    is_flow: Callable[[], bool] = lambda: False
    rule: Callable[[], RefinerRule] = lambda: ALIKE
    is_chosen: Callable[[str], bool] = lambda name: False
    own_schedules: Callable[[Any], bool] = lambda entry: False

    def __call__(self, values: Mapping[str, Any]) -> Expected:
        """Return the expected calls of the pass in which a refiner takes over, or why they can't be predicted."""
        rule = self.rule()
        never = _why_never(values, rule)
        if never:
            return Expected("run", never=never)
        if self._is_refined_already(values):
            return Expected(self._name(values), same_model=True)
        try:
            if _samples_as_flow(values, self.is_flow):
                raise UnknownSchedule("with a flow model the schedule is made when the run begins")
            if _rescales(values) and not self._is_rescaled():
                raise UnknownSchedule("with zero terminal SNR the noise table is set when the run begins")
            return replace(self._expected(values, self._is_hires(values), None), by_sigma=rule.by_sigma)
        except UnknownSchedule as reason:
            return Expected(self._name(values), unknown=str(reason), by_sigma=rule.by_sigma)

    def of_pass(self, values: Mapping[str, Any], hires: bool, use: KindUse | None) -> Expected:
        """Return the expected calls of a pass, or why they can't be predicted.

        :param use: how the job uses the loaded model, ``None`` if as the WebUI does
        """
        name = self._name({**values, "hires": False}) if not values.get("hires") else SECOND if hires else FIRST
        try:
            return replace(self._expected(values, hires, use), name=name, by_sigma=self.rule().by_sigma)
        except (UnknownSchedule, UserError) as reason:
            return Expected(name, unknown=str(reason))

    def refined_passes(self, values: Mapping[str, Any]) -> tuple[bool, ...]:
        """Return the passes in which a refiner takes over: false for the first, true for the hires pass."""
        if _why_never(values, self.rule()) or self._is_refined_already(values):
            return ()
        if not values.get("hires"):
            return (False,)
        return {FIRST: (False,), SECOND: (True,)}.get(self.opts.hires_fix_refiner_pass, (False, True))

    def _expected(self, values: Mapping[str, Any], hires: bool, use: KindUse | None) -> Expected:
        model = self.model()
        if model is None:
            raise UnknownSchedule("no checkpoint is loaded yet")
        p, own_steps = self._pass(values, hires)
        record, config = self._sampler(p.sampler_name)
        flow = None if use is None or use.flow is None else FlowLevels(use.flow, record, p, hires)
        denoiser = self._denoiser(model, record, use) if flow is None else flow
        points, steps = self._points(p, own_steps, record, {"config": config, "model_wrap": denoiser}, flow)
        arguments = self._arguments(p, record, points, denoiser.sigmas)
        by_calls = self.goes_by_calls or self.opts.refiner_switch_by_sample_steps
        total = config.total_steps(steps)
        made = record.calls(arguments) if flow is None else flow.calls(arguments)
        calls = expected_calls(made, denoiser.sigmas, record.in_timesteps, total if by_calls else None)
        time_of = unet_time if flow is not None else LevelTable(denoiser.sigmas).time_of
        timed = [replace(call, time=time_of(call.sigma)) for call in calls]
        return Expected(self._name(values), calls[-1].step + 1 if calls else 0, timed)

    def _denoiser(self, model: Any, record: SamplerRecord, use: KindUse | None) -> Any:
        """Return the denoiser that the host's schedules read, with the noise table as the run will have it."""
        denoiser = _asked(lambda: self.denoiser(model, record))
        if use is None or not use.kind.zero_terminal_snr or float(denoiser.sigmas[-1]) >= PURE_NOISE:
            return denoiser
        if not isinstance(alphas := getattr(model, "alphas_cumprod", None), Tensor):
            raise UnknownSchedule("with zero terminal SNR the noise table is set when the run begins")
        return _asked(lambda: self.denoiser(SimpleNamespace(alphas_cumprod=with_zero_terminal_snr(alphas)), record))

    def _is_rescaled(self) -> bool:
        """Return True if the loaded model's noise table ends in pure noise by now."""
        model = self.model()
        record = resolve_sampler("Euler").sampler
        return model is not None and float(_asked(lambda: self.denoiser(model, record)).sigmas[-1]) >= PURE_NOISE

    def _is_refined_already(self, values: Mapping[str, Any]) -> bool:
        """Return True if the pass in which a refiner takes over begins with its checkpoint."""
        own = values.get("hires_checkpoint") if self._is_hires(values) else None
        return self.is_chosen(values.get("checkpoint", "")) if own in SAME else own == values.get("checkpoint")

    def _name(self, values: Mapping[str, Any]) -> str:
        if not values.get("hires"):
            return "run"
        return "hires pass" if self._is_hires(values) else FIRST

    def _is_hires(self, values: Mapping[str, Any]) -> bool:
        return bool(values.get("hires")) and self.opts.hires_fix_refiner_pass == SECOND

    def _pass(self, values: Mapping[str, Any], hires: bool) -> tuple[Any, int | None]:
        """Return the processing object that the host's schedules need for a pass, and the pass' steps if set separately."""
        sampler, scheduler = values["sampler"], values["scheduler"]
        own_sampler, own_scheduler = values.get("hires_sampler"), values.get("hires_scheduler")
        from_picture = hires or "hires" not in values
        steps = _number(values["steps"], int, "the number of steps")
        if steps < 1:
            raise UnknownSchedule("the number of steps is 0")
        p = SimpleNamespace(
            sampler_name=own_sampler if hires and own_sampler not in SAME else sampler,
            scheduler=scheduler,
            hr_scheduler=scheduler if own_scheduler in SAME else own_scheduler,
            is_hr_pass=hires,
            steps=steps,
            denoising_strength=_number(values["strength"], float, "the denoising strength") if from_picture else None,
            extra_generation_params={},
            sampler_noise_scheduler_override=None,
        )
        return p, int(values.get("hires_steps") or steps) if hires else None

    def _sampler(self, name: str) -> tuple[SamplerRecord, Any]:
        record, config = resolve_sampler(str(name)).sampler, self.modules.samplers.find_sampler_config(name)
        if record is None or config is None:
            raise UnknownSchedule(f"SDFM doesn't know the steps of {name}")
        if record.calls is None:
            raise UnknownSchedule(f"{name} {record.refused}")
        if self.own_schedules(config):
            raise UnknownSchedule(f"the WebUI makes the schedule of {name} when the run begins")
        if record.own_grid and record.in_timesteps and getattr(self.opts, "uni_pc_skip_type", UNIFORM) != UNIFORM:
            raise UnknownSchedule(f"{name} follows the WebUI's option for its skip type")
        return record, config

    def _points(
        self, p: Any, own_steps: int | None, record: SamplerRecord, known: dict[str, Any], flow: FlowLevels | None
    ) -> tuple[Tensor, int]:
        """Return the pass' sigmas, descending, or timesteps, ascending; and its number of steps as counted by the host.

        :param known: the attributes of a sampler that the host's schedule function reads
        :param flow: the schedule of a flow model, in place of the host's
        """
        kind = self.modules.timesteps.CompVisSampler if record.in_timesteps else self.modules.kdiffusion.KDiffusionSampler
        sampler = object.__new__(kind)  # made by its class it would touch the model (Forge: the noise table)
        vars(sampler).update(known)
        schedule = flow or (sampler.get_timesteps if record.in_timesteps else sampler.get_sigmas)
        if p.denoising_strength is None:
            return _asked(lambda: schedule(p, p.steps)), p.steps
        steps, last = _asked(lambda: self.modules.common.setup_img2img_steps(p, own_steps))
        points = _asked(lambda: schedule(p, steps))
        return points[:last] if record.in_timesteps else points[steps - last - 1 :], last + 1

    def _arguments(self, p: Any, record: SamplerRecord, points: Tensor, table: Tensor) -> dict[str, Any]:
        """Return the arguments with which the host calls the sampler's function."""
        from_picture = p.denoising_strength is not None
        eta = getattr(self.opts, "eta_ddim" if record.in_timesteps else "eta_ancestral", 0.0)
        if record.in_timesteps:
            return {"timesteps": points, "eta": eta, "is_img2img": from_picture}
        lowest, highest = (points[-2], points[0]) if from_picture else (table[0], table[-1])
        return {
            "sigmas": points, "n": len(points) - 1, "eta": eta, "sigma_min": lowest, "sigma_max": highest,
            **self._churn(record),
        }  # fmt: skip

    def _churn(self, record: SamplerRecord) -> dict[str, float]:
        """Return the host's options for noise added before a step, for samplers to which it passes them."""
        taken = getattr(self.modules.kdiffusion, "sampler_extra_params", {}).get(record.functions[0], ())
        chosen = {name: getattr(self.opts, name, 0.0) for name in ("s_churn", "s_tmin", "s_tmax") if name in taken}
        return {**chosen, "s_tmax": chosen.get("s_tmax") or math.inf}


def _why_never(values: Mapping[str, Any], rule: RefinerRule) -> str:
    """Return why a host never goes over to the refiner that is chosen; empty if it does."""
    if values.get("hires") and not rule.beside_hires:
        return "this WebUI's refiner does nothing with a hires pass"
    if rule.zero_is_off and values.get("switch_at") == 0 and not values.get("from_start"):
        return "“Switch at” 0 switches this WebUI's refiner off"
    return ""


def _kind(values: Mapping[str, Any]) -> str:
    return values.get("model_kind", AUTOMATIC) if values.get("model") else AUTOMATIC


def _rescales(values: Mapping[str, Any]) -> bool:
    """Return True if the panel asks for zero terminal SNR."""
    return _kind(values) == V and bool(values.get("zero_terminal_snr"))


def _samples_as_flow(values: Mapping[str, Any], is_remembered: Callable[[], bool]) -> bool:
    """Return True if the job will sample the checkpoint as a flow model."""
    kind = _kind(values)
    if kind != AUTOMATIC:
        return kind == FLOW
    mode = values.get("flow_mode", AUTO) if values.get("flow") else AUTO
    return is_remembered() if mode == AUTO else mode == ON


def _asked(host: Callable[[], Any]) -> Any:
    """Return the result of a host function.

    :raises UnknownSchedule: if it fails, as its own run would, or because it needs a real model
    """
    try:
        return host()
    except HOST_ERRORS as error:
        raise UnknownSchedule(f"the WebUI's schedule can't be computed in advance ({error})") from error


def _number(value: Any, kind: type, what: str) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise UnknownSchedule(f"{what} is missing") from None
