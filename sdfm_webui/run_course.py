"""The course of the run that the panel's present values would make, computed without the model.

As in :mod:`.expectation`, a job may be sampling meanwhile: no sampler is made, no noise drawn, nothing of the model called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib_sdfm.hosts.kind_pass import KindUse
from lib_sdfm.planning.cost import FACTOR, Cost, CostFacts, SizedPass, cost_of
from lib_sdfm.planning.course import USUAL_CFG, USUAL_STEPS, PassFacts, PlannedCall, planned_calls, usual_calls
from lib_sdfm.planning.effect import AND, JobFacts, features_without_effect, without_features
from lib_sdfm.planning.plan import plan_of
from lib_sdfm.prompts.report import Expected
from lib_sdfm.prompts.sides import side_of
from lib_sdfm.sampling.sampler_names import resolve_sampler
from lib_sdfm.sampling.sampler_record import SamplerRecord
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.settings import Schema, Settings
from lib_sdfm.techniques.refiner_sync import RefinerSync

from .expectation import SAME, HostSchedule

USUAL_SIDE = 512
NO_REFINER = (None, "", "None")


@dataclass(frozen=True)
class Handover:
    """The change where a refiner takes over.

    :param refiner: name of its checkpoint
    :param before: prompt and negative prompt before, if either changes; else empty
    :param after: the same afterwards
    """

    refiner: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class CoursePass:
    """One pass of the run.

    :param name: ``run``, ``first pass`` or ``second pass``
    :param sized: the pass as it was computed
    :param calls: its model calls as they will be
    :param unknown: why noise levels are only the usual ones; empty if they are the run's
    """

    name: str
    sized: SizedPass
    calls: Sequence[PlannedCall]
    unknown: str = ""


@dataclass(frozen=True)
class Course:
    """The whole run.

    :param passes: its passes
    :param labels: labels of the techniques that act by more than the CFG scale, by name, in the panel's order
    :param cost: its time
    :param handover: the change where a refiner takes over, ``None`` without one
    """

    passes: Sequence[CoursePass]
    labels: Mapping[str, str]
    cost: Cost
    handover: Handover | None = None


@dataclass(frozen=True)
class RunCourse:
    """Computes the course for values of the panel.

    :param schedule: the host's schedules
    :param facts: returns a job's facts about the loaded model, given what is known of the job, and the settings
    :param use: returns how resolved settings use the loaded model
    :param skips_uncond: true if the host makes no unconditional prediction at CFG scale 1
    """

    schedule: HostSchedule
    facts: Callable[[ModelFacts, Settings], ModelFacts]
    use: Callable[[Settings], KindUse | None]
    skips_uncond: bool

    def __call__(self, schema: Schema, asked: Settings, values: Mapping[str, Any]) -> Course:
        """Return the course.

        :param asked: the panel's settings
        :param values: values of the host's controls, by the names in :mod:`.host_values`
        :raises UserError: if a technique isn't made for the model
        """
        first, hires = _samplers(values)
        about = self.facts(ModelFacts(sampler=first, hires_sampler=hires), asked)
        settings = schema.resolved(asked, about)
        idle = features_without_effect(schema, settings, facts_of_panel(values))
        settings = without_features(settings, [feature for feature, _ in idle])
        plan, use = plan_of(schema, settings), self.use(settings)
        sync = next((f for f in schema.by_default(asked) if isinstance(f, RefinerSync)), None)
        passes: list[CoursePass] = []
        for is_hires in _passes(values):
            sized, expected = self._pass(values, is_hires, use, sync)
            sized = replace(sized, facts=replace(sized.facts, calls_before=sum(len(one.calls) for one in passes)))
            passes.append(CoursePass(expected.name, sized, planned_calls(plan, sized.facts), expected.unknown))
        acting = {t.name for one in passes for call in one.calls for t in call.active if not t.only_scales()}
        labels = {technique.name: technique.label for technique in plan.techniques if technique.name in acting}
        cost = cost_of(plan, CostFacts(about.sdxl, [one.sized for one in passes]))
        return Course(passes, labels, cost, _handover(values, sync))

    def _pass(
        self, values: Mapping[str, Any], hires: bool, use: KindUse | None, sync: RefinerSync | None
    ) -> tuple[SizedPass, Expected]:
        """Return a pass, and its calls as the schedule tells them."""
        expected = self.schedule.of_pass(values, hires, use)
        sampler = _samplers(values)[hires and 1] or ""
        record = resolve_sampler(sampler).sampler
        first_steps = _integer(values.get("steps")) or USUAL_STEPS
        steps = (_integer(values.get("hires_steps")) if hires else None) or first_steps
        share = (
            None if "hires" in values else _number(values.get("strength"))
        )  # img2img makes a share of the steps, and one more
        made = int(steps * min(share, 0.999)) + 1 if share else steps
        calls = expected.calls or usual_calls(made, 1 if record is None else record.calls_per_step)
        facts = PassFacts(
            calls,
            steps=calls[-1].step + 1,
            cfg_scale=_cfg_scale(values, hires),
            sampler=sampler,
            multiplier=record.cfg_unit if _multiplies(record, self.skips_uncond) else 1.0,
            hires=hires,
            hires_sampler=values.get("hires_sampler") not in SAME,
            first_steps=first_steps,
            own_steps=record is not None and record.own_steps,
            flow_model=use is not None and use.flow is not None,
            prompts=1 + len(AND.findall(str(values.get("prompt") or ""))),
            host_skips_uncond=self.skips_uncond,
            switch=self._switch(values, hires, expected, sync),
        )
        return SizedPass(facts, _pixels(values, hires)), expected

    def _switch(self, values: Mapping[str, Any], hires: bool, expected: Expected, sync: RefinerSync | None) -> int | None:
        if not _has_refiner(values) or hires not in self.schedule.refined_passes(values):
            return None
        asked = _number(values.get("switch_at"))
        at = asked if sync is None else sync.switch_at(asked)
        return None if at is None else expected.switch(at)


def facts_of_panel(values: Mapping[str, Any]) -> JobFacts:
    """Return what the host's controls say of the job."""
    has_hires, steps = bool(values.get("hires")), _integer(values.get("steps"))
    return JobFacts(
        steps=steps,
        hires_steps=_integer(values.get("hires_steps")) or steps,
        has_hires=has_hires,
        cfg_scales=tuple(_cfg_scale(values, hires) for hires in _passes(values)),
        prompts=[str(values.get("prompt") or "")],
        sampler=str(values.get("sampler") or ""),
    )


def _passes(values: Mapping[str, Any]) -> tuple[bool, ...]:
    return (False, True) if values.get("hires") else (False,)


def _samplers(values: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the samplers of the first pass and of the hires pass, ``None`` without one."""
    first, own = str(values.get("sampler") or ""), values.get("hires_sampler")
    return first, (first if own in SAME else str(own)) if values.get("hires") else None


def _multiplies(record: SamplerRecord | None, is_forge: bool) -> bool:
    """Return True if the host multiplies the CFG scale for a sampler: A1111 for its DDIM CFG++."""
    return record is not None and record.name == "DDIM CFG++" and not is_forge


def _cfg_scale(values: Mapping[str, Any], hires: bool) -> float:
    own = _number(values.get("hires_cfg_scale")) if hires else None
    return own or _number(values.get("cfg_scale")) or USUAL_CFG


def _pixels(values: Mapping[str, Any], hires: bool) -> int:
    """Return the pixels of a pass' latent."""
    width, height = (_number(values.get(name)) or USUAL_SIDE for name in ("width", "height"))
    across, down = (_number(values.get(name)) or 0 for name in ("hires_width", "hires_height"))
    if hires and (across or down):  # one of them alone keeps the proportions
        width, height = across or down * width / height, down or across * height / width
    elif hires:
        scale = _number(values.get("hires_scale")) or 1.0
        width, height = width * scale, height * scale
    return max(int(width // FACTOR), 1) * max(int(height // FACTOR), 1)


def _has_refiner(values: Mapping[str, Any]) -> bool:
    return bool(values.get("refiner")) and values.get("checkpoint") not in NO_REFINER


def _handover(values: Mapping[str, Any], sync: RefinerSync | None) -> Handover | None:
    if not _has_refiner(values):
        return None
    texts = [(str(values.get("prompt") or ""), False), (str(values.get("negative") or ""), True)]
    if sync is None:
        return Handover(str(values["checkpoint"]))
    asked = _number(values.get("switch_at"))
    sides = [
        tuple(side_of(text, lambda when: sync.follows_refiner(when, asked), second, negative) for text, negative in texts)
        for second in (False, True)
    ]
    return Handover(str(values["checkpoint"]), *(sides if sides[0] != sides[1] else ()))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    return None if _number(value) is None else int(value)
