"""One job of the host: writing its generation parameters, and the run around each batch's sampling."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from lib_sdfm.errors import UserError
from lib_sdfm.hosts.attributes import InstanceAttribute, undo_all
from lib_sdfm.hosts.refiner import ALIKE, RefinerRule
from lib_sdfm.hosts.run import NewPass, Run
from lib_sdfm.planning.effect import features_without_effect, outside_noise_levels, without_features
from lib_sdfm.planning.plan import plan_of
from lib_sdfm.sampling.plan import Plan, cross_editor
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.originals import OldEntry
from lib_sdfm.schema.payload import require_no_rival, resolve_job
from lib_sdfm.schema.settings import Schema, Settings

from .axes import axes_of_job
from .built_ins import notes_on_both
from .errors import shown_to_user
from .found import put_found
from .idle import asks_for_nothing, missing_in_host, stand_aside
from .job_facts import facts_of_job
from .model_kinds import KindHost
from .refiner import RefinerJob, forget_keys
from .warnings import prompt_warnings, scale_warnings, tell, thresholding_warnings

__all__ = ["HostObjects", "begin_batch", "begin_job", "end_without_pictures", "forget_earlier"]

LOG = logging.getLogger("sdfm")
Payloads = Sequence[tuple[OldEntry, Sequence[Any]]]


@dataclass(frozen=True)
class HostObjects:
    """The host's parts that a job needs, read when needed.

    :param new_pass: attaches a plan to a pass
    :param model: returns the facts that defaults may depend on
    :param old_payloads: returns a processing object's arguments for the originals' titles
    :param rivals: returns the arguments of originals that are installed themselves
    :param built_ins: returns titles of other scripts that are on in a processing object, and the technique that does the same
    :param old_timelines: returns True if the option for old prompt editing timelines is on
    :param kinds: model kinds
    :param options: returns the host's options
    :param refiner_rule: returns how the host goes over to a refiner
    :param end_others: lets other extensions end a job that fails, which the host doesn't
    """

    new_pass: NewPass
    model: Callable[[], ModelFacts]
    old_payloads: Callable[[Any], Payloads]
    rivals: Callable[[Any], Payloads]
    built_ins: Callable[[Any], Sequence[tuple[str, str]]] = lambda p: ()
    old_timelines: Callable[[], bool] = lambda: False
    kinds: KindHost | None = None
    options: Callable[[], Any] = lambda: None
    refiner_rule: Callable[[], RefinerRule] = lambda: ALIKE
    end_others: Callable[[Any], None] = lambda p: None


def begin_batch(schema: Schema, p: Any, args: Sequence[Any], host: HostObjects) -> None:
    """Write our generation parameters and wrap ``p.sample``. Never raises: errors are raised by ``p.sample``.

    The host swallows exceptions here, and makes a picture without SDFM; it does not swallow those of ``p.sample``. A job
    that doesn't use SDFM never fails: problems with the host are logged.
    """
    _unwrap_sample(p)
    _wrap_what_is_asked(schema, p, args, host)
    one_call = vars(p).get(LAST_CALL)
    if one_call is not None and host.kinds is not None:
        with suppress(Exception):  # a host that is not as expected: the call itself says so
            one_call.at_end = host.kinds.table_keeper()


def _wrap_what_is_asked(schema: Schema, p: Any, args: Sequence[Any], host: HostObjects) -> None:
    try:
        _prepare(schema, p, args, host)
    except UserError as problem:
        _unwrap_sample(p)
        _wrap_sample(p, _ending_others(_raising(_named_for(p, problem)), p, host))
    except Exception as problem:
        _unwrap_sample(p)
        if asks_for_nothing(schema, p, args):
            stand_aside(problem)
        else:
            _wrap_sample(p, _ending_others(_raising(missing_in_host(problem)), p, host))


def _prepare(schema: Schema, p: Any, args: Sequence[Any], host: HostObjects) -> None:
    is_api = bool(getattr(p, "is_api", False))
    job = resolve_job(schema, args, host.old_payloads(p), axes_of_job(p), is_api)
    require_no_rival(schema, job.settings, host.rivals(p))
    doubled = notes_on_both(schema, job.settings, list(host.built_ins(p)))
    kinds = _contradictions(host, job.settings, p)
    sync = RefinerJob(schema, job.settings, p, host.old_timelines(), host.refiner_rule())
    sync.require_possible(_labels_of_encoded(schema, job.settings))
    settings = schema.resolved(sync.settings, _facts(p, host, sync.settings))
    idle = _idle_features(schema, settings, p, host)
    settings = without_features(settings, [feature for feature, _ in idle])
    unused = [f"{feature.label} has no effect in this picture and is not saved with it: {why}" for feature, why in idle]
    notes = [*prompt_warnings(p, job.settings), *scale_warnings(p, settings), *sync.warnings()]
    notes += thresholding_warnings(schema, settings, host.rivals(p))
    tell(p, [*job.warnings, *doubled, *kinds, *unused, *notes])
    sync.write(settings)
    sampling = _sampling(schema, settings, p, host)
    if sync.acts:
        _wrap_sample(p, _ending_others(sync.around(sampling), p, host), sync.prompts.detach)
        sync.prompts.attach()
    elif sampling is not None:
        _wrap_sample(p, sampling)


def _labels_of_encoded(schema: Schema, settings: Settings) -> list[str]:
    """Return the labels of techniques that keep what the model makes of a text."""
    editor = cross_editor(plan_of(schema, settings).techniques)
    return [] if editor is None else [editor.label]


def _idle_features(schema: Schema, settings: Settings, p: Any, host: HostObjects) -> list[tuple[Feature, str]]:
    """Return the features without effect in this job, with the reason; a defect in one is left for the run to raise."""
    if not settings.techniques:
        return []
    facts = facts_of_job(p, host.options())  # a host without options is not as expected
    try:
        return features_without_effect(schema, settings, facts)
    except UserError:
        raise
    except Exception:
        return []


def _named_for(p: Any, problem: UserError) -> UserError:
    """Return an error with settings named as its reader knows them: as in the API for jobs of the API."""
    if not getattr(p, "is_api", False) or problem.for_api() == str(problem):
        return problem
    named = UserError(problem.for_api())
    named.__cause__ = problem
    return named


def _contradictions(host: HostObjects, settings: Settings, p: Any) -> list[str]:
    """Return warnings if a job that uses SDFM asks for another model kind than the checkpoint is known for, or its sampler
    takes the checkpoint for another."""
    if host.kinds is None or not settings.techniques:
        return []
    warnings = host.kinds.contradiction(settings), host.kinds.blind_sampler(p)
    return [warning for warning in warnings if warning is not None]


def _facts(p: Any, host: HostObjects, settings: Settings) -> ModelFacts:
    """Return the facts of a job that defaults may depend on."""
    sampler = str(getattr(p, "sampler_name", ""))
    hires_sampler = (getattr(p, "hr_sampler_name", None) or sampler) if getattr(p, "enable_hr", False) else None
    facts = replace(host.model(), sampler=sampler, hires_sampler=hires_sampler)
    return facts if host.kinds is None else host.kinds.facts(facts, settings)


def _sampling(schema: Schema, settings: Settings, p: Any, host: HostObjects) -> Sampling | None:
    """Return the function that samples a batch in place of the host, ``None`` if none is needed."""
    plan = plan_of(schema, settings)
    use = None if host.kinds is None else host.kinds.use_of(settings)
    if use is None and not plan.techniques:
        return None if host.kinds is None else host.kinds.plain_sampling(p)
    if host.kinds is None:
        run = Run(plan, p, host.new_pass).sample
    else:
        run = host.kinds.sampling(lambda new_pass: Run(plan, p, new_pass), p, host.new_pass, use)
    return _ending_others(_recording(schema, plan, p, run), p, host)


def _ending_others(sampling: Sampling, p: Any, host: HostObjects) -> Sampling:
    """Return a sampling after whose failure other extensions end the job, so that nothing of theirs stays in the model.

    The host tells them that a job ends only if it succeeds. The error is raised as it is.
    """

    def run(sample: Sampling, *args: Any, **kwargs: Any) -> Any:
        try:
            return sampling(sample, *args, **kwargs)
        except Exception:
            try:
                host.end_others(p)
            except Exception:
                LOG.warning("SDFM: other extensions could not clean up after the failed job", exc_info=True)
            raise

    return run


def end_without_pictures(p: Any, processed: Any) -> None:
    """Tell scripts that a batch and its job have ended, with no pictures: some clean up after the one, some after the other.

    :param processed: the host's result of a job without pictures
    """
    p.scripts.postprocess_batch(p, torch.empty(0, 3, p.height, p.width), batch_number=p.iteration)
    p.scripts.postprocess(p, processed)


def _recording(schema: Schema, plan: Plan, p: Any, sampling: Sampling) -> Sampling:
    """Return the sampling of a batch that then writes the settings found in it to the generation parameters, and says what
    never acted for its noise levels."""

    def run(sample: Sampling, *args: Any, **kwargs: Any) -> Any:
        result = sampling(sample, *args, **kwargs)
        put_found(p, {schema.by_id[id].param.key: values for id, values in plan.found.items()})
        tell(p, outside_noise_levels(plan))
        return result

    return run


def forget_earlier(schema: Schema, p: Any) -> None:
    """Remove the keys of an earlier job from the generation parameters.

    ADetailer announces a new job to scripts while a job's pictures are postprocessed, with a copy that shares the
    parameters: by then the job has its conds, and its keys are kept.
    """
    if getattr(p, "c", None) is None:
        forget_keys(schema, p)


def begin_job(schema: Schema, p: Any, args: Sequence[Any], host: HostObjects) -> None:
    """Attach or remove the loaded model's adapter for a job, before the host makes samplers. Its batches report errors."""
    if host.kinds is None:
        return
    try:
        if host.kinds.has_refiner_loaded(p):
            return
        job = resolve_job(schema, args, host.old_payloads(p), axes_of_job(p), bool(getattr(p, "is_api", False)))
        host.kinds.apply(host.kinds.use_of(schema.resolved(job.settings, _facts(p, host, job.settings))))
    except UserError:
        return
    except Exception as problem:
        if asks_for_nothing(schema, p, args):
            stand_aside(problem)


LAST_CALL = "sdfm_one_call"
"""Attribute of the processing object that holds the last replacement of its ``sample``."""
Sampling = Callable[..., Any]
"""Replacement of ``p.sample``: called with the host's function, and its arguments."""


def _raising(problem: Exception) -> Sampling:
    def run(sample: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        raise problem

    return run


def _wrap_sample(p: Any, run: Sampling, take_back: Callable[[], None] = lambda: None) -> None:
    """Replace ``p.sample`` for one call; the original is restored before that call begins.

    :param take_back: undoes what else was attached, if the batch is never sampled
    """
    one_call = _OneCall(run, p.sample, take_back)
    one_call.attribute = InstanceAttribute(p, "sample", one_call)
    one_call.mark = InstanceAttribute(p, LAST_CALL, one_call)


def _unwrap_sample(p: Any) -> None:
    """Undo what an earlier batch has left that was never sampled."""
    previous = vars(p).get(LAST_CALL)
    if previous is not None:
        previous.end()
        previous.take_back()


class _OneCall:
    """Replacement of ``p.sample`` for one call, which passes later ones on.

    Another extension may have wrapped it in the meantime, and call it in later batches too: by then it has no effect.
    """

    attribute: InstanceAttribute
    mark: InstanceAttribute

    def __init__(self, run: Sampling, sample: Callable[..., Any], take_back: Callable[[], None]) -> None:
        self._run, self._sample, self.take_back = run, sample, take_back
        self.at_end: Callable[[], None] = lambda: None
        self._spent = False

    def end(self) -> None:
        """Restore ``p.sample``; code that still holds this object gets the host's sampling."""
        self._spent = True
        undo_all(self.attribute.restore, self.mark.restore)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._spent:
            return self._sample(*args, **kwargs)
        self.end()
        with shown_to_user(), ExitStack() as stack:
            stack.callback(self.at_end)
            return self._run(self._sample, *args, **kwargs)
