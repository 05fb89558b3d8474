"""Techniques without effect in a whole job: no step in their window, no unconditional prediction, or a CFG scale of 1."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace

from ..sampling.model_call import HostCounters, ModelCall
from ..sampling.plan import Plan
from ..sampling.sampler_names import resolve_sampler
from ..sampling.stages import Stages
from ..schema.feature import Feature
from ..schema.settings import Schema, Settings
from .plan import plan_of
from .technique import Technique

AND = re.compile(r"\bAND\b")
WINDOWS = {"start_step", "start"}
"""Settings of techniques that act on part of the steps."""
MANY_STEPS = 1000
"""Steps that are tried where their number isn't known."""
ALL_SIGMAS = 14.7
"""Noise level above which no step of a usual model starts."""


@dataclass(frozen=True)
class JobFacts:
    """Facts of a job that decide if techniques have an effect; ``None`` for what isn't known.

    :param steps: steps of the first pass
    :param hires_steps: steps of the hires pass
    :param has_hires: true if there is a hires pass
    :param cfg_scales: the CFG scales of the passes
    :param prompts: the positive prompts
    :param sampler: name of the first pass' sampler
    :param without_uncond: why the host makes no unconditional prediction in the whole job; empty if it makes one
    """

    steps: int | None = None
    hires_steps: int | None = None
    has_hires: bool | None = None
    cfg_scales: tuple[float, ...] = ()
    prompts: Sequence[str] = ()
    sampler: str = ""
    without_uncond: str = ""

    @property
    def has_cfg_1(self) -> bool:
        """True if CFG does nothing in the whole job: its scale is 1, one prompt an image, and the sampler scales nothing."""
        record = resolve_sampler(self.sampler).sampler
        plain = record is not None and record.cfg_unit == 1 and record.name != "DDIM CFG++ (CFG/12.5)"
        return plain and self.cfg_scales != () and set(self.cfg_scales) == {1} and not any(map(AND.search, self.prompts))


UNKNOWN = JobFacts()


def without_uncond(skip_early: float, minimum_sigma: float, all_steps: bool) -> str:
    """Return why a host makes no unconditional prediction in a whole job; empty if it makes one.

    :param skip_early: the host's option "Ignore negative prompt during early sampling", a share of the steps
    :param minimum_sigma: negative guidance minimum sigma
    :param all_steps: true if that option skips all steps, not every other one
    """
    if skip_early >= 1:
        return "“Ignore negative prompt during early sampling” is 1"
    if all_steps and minimum_sigma > ALL_SIGMAS:
        return f"negative guidance minimum sigma is {minimum_sigma:g} for all steps"
    return ""


def features_without_effect(schema: Schema, settings: Settings, facts: JobFacts = UNKNOWN) -> list[tuple[Feature, str]]:
    """Return the features that are on and have no effect in a job for what the job is, with the reason.

    Those whose own settings have none are left out, see :func:`~lib_sdfm.planning.plan.inert_features`.
    """
    plan = plan_of(schema, settings)
    reasons = [(t, _why(t, plan, facts)) for t in schema.chosen(settings) if isinstance(t, Technique)]
    return [(technique, why) for technique, why in reasons if why is not None]


def without_features(settings: Settings, features: Collection[Feature]) -> Settings:
    """Return settings in which some features are off."""
    names = {feature.name for feature in features}
    return replace(settings, techniques={name: own for name, own in settings.techniques.items() if name not in names})


def outside_noise_levels(plan: Plan) -> list[str]:
    """Return a line for each technique whose window of noise levels contained no step of a finished run."""
    working = [t for t in plan.techniques if plan.why_inert(t, hires=False) is None or plan.why_inert(t, hires=True) is None]
    limited = [t for t in working if isinstance(t, Technique) and t.limits_noise() and t.name not in plan.seen.acted]
    if plan.seen.levels is None:
        return []
    seen = "from {:.3g} down to {:.3g}".format(*plan.seen.levels)
    return [f"{t.label} acted in no step: {t.noise_window()} contains none of its steps, which went {seen}" for t in limited]


def _why(technique: Technique, plan: Plan, facts: JobFacts) -> str | None:
    passes = (False, True) if facts.has_hires or facts.has_hires is None else (False,)
    working = [hires for hires in passes if plan.why_inert(technique, hires) is None]
    if not working:
        return None
    if (why := technique.why_no_noise_level()) is not None:
        return why
    if WINDOWS & {field.name for field in fields(technique.settings)}:
        empty = [hires for hires in working if not _has_step(technique, hires, facts)]
        if empty == working:
            return _empty_window(technique, facts)
    if facts.without_uncond and _acts_on_guidance(technique, plan):
        return f"there is no unconditional prediction: {facts.without_uncond}"
    if facts.has_cfg_1 and _is_idle_at_cfg_1(technique, plan):
        return "the CFG scale is 1"
    return None


def _has_step(technique: Technique, hires: bool, facts: JobFacts) -> bool:
    """Return True if any step of a pass lies in a technique's window of steps."""
    is_inside = technique.in_window if hasattr(technique.settings, "start_step") else technique.active
    record = resolve_sampler(facts.sampler).sampler
    steps = facts.hires_steps if hires else facts.steps
    known = steps is not None and record is not None and not record.own_steps
    total = steps + record.in_timesteps if known else MANY_STEPS  # those make one step more at some numbers
    before = (facts.steps or 0) if hires else 0
    return any(is_inside(_call(index, total, hires, before)) for index in range(total))


def _call(index: int, total: int, hires: bool, before: int) -> ModelCall:
    lagging = max(index - 1, 0)
    host = HostCounters(lagging=lagging, call=index, calls=total, run_call=before + index, pass_steps=total, job_steps=total)
    return ModelCall(index, total, sigma=None, timestep=None, hires=hires, host=host)


def _empty_window(technique: Technique, facts: JobFacts) -> str:
    names = ("start_step", "end_step") if hasattr(technique.settings, "start_step") else ("start", "stop")
    start, end = (technique.value(name, hires=False) for name in names)
    steps = f"the {facts.steps} steps" if facts.steps else "any step"
    return f"its window, from {start:g} to {end:g}, contains none of {steps}"


def _overrides(technique: Stages, stage: str) -> bool:
    return getattr(type(technique), stage) is not getattr(Stages, stage)


def _adds(technique: Stages) -> bool:
    """Return True if a technique acts by more than the difference of conditional and unconditional prediction."""
    extra = technique.perturbation(_call(0, 1, hires=False, before=0)) is not None
    stages = ("skip", "scale_noise", "cross_attention")
    return extra or any(hasattr(Stages, stage) and _overrides(technique, stage) for stage in stages)


def _acts_on_guidance(technique: Stages, plan: Plan) -> bool:
    """Return True if a technique changes only what CFG does, which is nothing without an unconditional prediction."""
    if _adds(technique):
        return False
    if _overrides(technique, "finish"):  # has an effect on what others add
        return not any(_overrides(other, "correct") and _adds(other) for other in plan.techniques)
    return True


def _is_idle_at_cfg_1(technique: Stages, plan: Plan) -> bool:
    """Return True if a technique has no effect at CFG scale 1: what acts on guidance, CFG rescale alone, and a change of the
    unconditional rows."""
    others = [other for other in plan.techniques if other is not technique and other.name != technique.name]
    first = _call(0, 1, hires=False, before=0)
    if any(_overrides(t, "guidance_scale") or t.combines() or _overrides(t, "renoise") for t in others):
        return False
    if technique.guides_only:
        return True
    if technique.combines() or _overrides(technique, "guidance_scale") or _overrides(technique, "renoise"):
        return False
    if _overrides(technique, "finish"):
        return _acts_on_guidance(technique, plan)
    changes_uncond = technique.main_perturbation(first) is not None and not _adds(technique)
    return changes_uncond and not any(other.needs_uncond(first) for other in others)
