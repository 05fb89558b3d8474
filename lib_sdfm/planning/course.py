"""The course of a run, computed beforehand: each model call's CFG scale, the techniques active in it, and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy

from ..prompts.report import ExpectedCall
from ..sampling.model_call import HostCounters, ModelCall
from ..sampling.plan import Plan, guidance_scale, perturbations, skip_editors
from ..sampling.sampler_names import resolve_sampler
from ..sampling.sampler_record import AFTER_FIRST_CALL
from ..sampling.stages import Perturbation, Stages

USUAL_STEPS, USUAL_CFG = 20, 7.0
HIGHEST_TIME = 999.0


@dataclass(frozen=True)
class PassFacts:
    """One pass of a run, as it is known beforehand.

    :param calls: its model calls
    :param steps: its number of steps, as the host counts them
    :param cfg_scale: the CFG scale that the user set for it
    :param sampler: name of its sampler
    :param multiplier: factor by which the sampler multiplies the CFG scale
    :param hires: true for the hires pass
    :param hires_sampler: true if the user chose a sampler for the hires pass
    :param first_steps: steps that the user set for the first pass
    :param calls_before: model calls of the first pass, in the hires pass
    :param own_steps: true if the sampler makes another number of steps than it is asked for
    :param flow_model: true if the model is sampled as a flow model
    :param prompts: number of prompts joined by AND
    :param host_skips_uncond: true if the host itself makes no unconditional prediction at CFG scale 1 (Forge)
    :param switch: the call from which a refiner predicts, ``None`` without one
    """

    calls: Sequence[ExpectedCall]
    steps: int = USUAL_STEPS
    cfg_scale: float = USUAL_CFG
    sampler: str = "Euler"
    multiplier: float = 1.0
    hires: bool = False
    hires_sampler: bool = False
    first_steps: int = USUAL_STEPS
    calls_before: int = 0
    own_steps: bool = False
    flow_model: bool = False
    prompts: int = 1
    host_skips_uncond: bool = False
    switch: int | None = None


@dataclass(frozen=True)
class PlannedCall:
    """One model call as it will be.

    :param call: the call
    :param scale: its CFG scale, in the sampler's unit
    :param shown_scale: the CFG scale with what techniques make of it where they compute CFG
    :param active: the techniques active in it
    :param has_uncond: true if the unconditional rows are predicted
    :param may_lack_uncond: true if a technique may leave them out, by what it finds while sampling
    :param changes: the perturbed predictions that it needs
    """

    call: ModelCall
    scale: float
    shown_scale: float
    active: tuple[Stages, ...]
    has_uncond: bool
    may_lack_uncond: bool
    changes: tuple[Perturbation, ...]

    @property
    def edits_skips(self) -> bool:
        """True if decoder features are edited."""
        return bool(skip_editors(self.active))


def planned_calls(plan: Plan, facts: PassFacts) -> list[PlannedCall]:
    """Return the model calls of a pass with a plan.

    :raises UnsupportedError: if a technique isn't made for the model
    """
    return [_planned(plan, facts, call) for call in model_calls(facts)]


def model_calls(facts: PassFacts) -> list[ModelCall]:
    """Return the model calls of a pass as techniques get them, without what only the run knows (memory, seeds, ratios)."""
    record = resolve_sampler(facts.sampler).sampler
    unit = 1.0 if record is None else record.cfg_unit
    calls, earlier, within = [], -1, 0
    for number, expected in enumerate(facts.calls):
        within = within + 1 if expected.step == earlier else 0
        earlier = expected.step
        lagging = expected.step - (within == 0 or record is None or record.callback != AFTER_FIRST_CALL)
        host = HostCounters(
            lagging=max(lagging, 0), call=number, calls=len(facts.calls), run_call=facts.calls_before + number,
            pass_steps=facts.steps, job_steps=facts.first_steps, job_cfg_scale=facts.cfg_scale,
            hires_sampler=facts.hires_sampler,
        )  # fmt: skip
        calls.append(
            ModelCall(
                expected.step, None if facts.own_steps else facts.calls[-1].step + 1, expected.sigma, expected.time,
                facts.hires, facts.multiplier, host, cfg_unit=facts.multiplier if unit == 1.0 else unit,
                flow_model=facts.flow_model, refined=facts.switch is not None and number >= facts.switch,
            )
        )  # fmt: skip
    return calls


def _planned(plan: Plan, facts: PassFacts, call: ModelCall) -> PlannedCall:
    active = plan.active(call)
    asked = facts.cfg_scale * call.scale_multiplier
    has_none = facts.host_skips_uncond and facts.cfg_scale == 1
    scale = asked if has_none else guidance_scale(active, asked, call)
    may_lack = any(t.leaves_out_uncond() and not t.images_without_cfg(call) for t in active)
    return PlannedCall(
        call, scale, _shown(active, scale, call), active, not has_none and _has_uncond(active, scale, facts, call), may_lack,
        tuple(perturbations(active, call).values()),
    )  # fmt: skip


def _has_uncond(active: tuple[Stages, ...], scale: float, facts: PassFacts, call: ModelCall) -> bool:
    """Return True if the unconditional rows are predicted: A1111 leaves them out for techniques alone, Forge by itself."""
    record = resolve_sampler(facts.sampler).sampler
    renoises = record is not None and record.renoises_itself
    needed = scale != 1 or renoises or facts.prompts > 1 or any(technique.needs_uncond(call) for technique in active)
    return needed or not (active or facts.host_skips_uncond)


def _shown(active: tuple[Stages, ...], scale: float, call: ModelCall) -> float:
    for technique in active:
        call = technique.after_scale(call)
    for technique in active:
        scale = technique.combined_scale(scale, call)
    return scale


def usual_calls(steps: int, calls_per_step: int = 1) -> list[ExpectedCall]:
    """Return the calls of a pass whose schedule isn't known: uniform in the model's time, with the usual noise table."""
    table, found = usual_table(), []
    for step in range(steps):
        time = HIGHEST_TIME * (1 - step / steps)
        sigma = float(numpy.interp(time, numpy.arange(len(table)), table))
        found += [ExpectedCall(step, sigma, step / steps, time)] * calls_per_step
    return found


@cache
def usual_table() -> numpy.ndarray:
    """Return Stable Diffusion's own noise levels, ascending, ``(1000,)``."""
    betas = numpy.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = numpy.cumprod(1 - betas)
    return numpy.sqrt((1 - kept) / kept)
