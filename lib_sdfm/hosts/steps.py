"""The current step of a pass, from its sampler's arguments and callbacks: the same samplers run on both hosts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ..sampling.call_levels import at_the_end, ddim_calls, one_step_each
from ..sampling.clock import CallClock, StepClock, single_calls
from ..sampling.host_flow import HostFlow
from ..sampling.memory import PassMemory
from ..sampling.model_call import HostCounters, ModelCall
from ..sampling.plan import Plan
from ..sampling.sampler_names import require_spans, sampler_of
from ..sampling.sampler_record import AFTER_FIRST_CALL, ONE_CALL_AHEAD, SamplerRecord
from ..sampling.step_spans import StepSpans, straight
from .attributes import InstanceAttribute

ONE_CALL, TWO_CALLS = one_step_each(straight), one_step_each(straight, at_the_end)
"""Model calls of a sampler for which only their number per step is known."""


class SamplerSteps:
    """Step counter that listens to a sampler's function, from construction until :meth:`detach`.

    :param sampler: the host's sampler object
    :param on_break: called when the sampler's function ends with an exception, an interrupt included
    :param plan: the plan of the run
    :param flow: how the host samples the model, if it is a flow model of its own
    :param from_options: returns the arguments that a sampler's function takes from the host's options instead
    """

    def __init__(
        self,
        sampler: Any,
        on_break: Callable[[], None],
        plan: Plan,
        flow: HostFlow | None = None,
        from_options: Callable[[Callable[..., Any]], dict[str, Any]] = lambda function: {},
    ) -> None:
        self._name, self._options = sampler.config.name, sampler.config.options
        self._function = getattr(sampler.func, "__name__", "")
        self._record = sampler_of(self._name, self._function)
        self._on_break, self._plan, self._flow, self._from_options = on_break, plan, flow, from_options
        self._first_model: Any = None
        self._spans: StepSpans | None = None
        self._clock, self._total = StepClock(single_calls), None
        self._memory: tuple[PassMemory, Any, Any] = (PassMemory(), None, None)
        self._attribute = InstanceAttribute(sampler, "func", self._wrap(sampler.func))

    def detach(self) -> None:
        """Restore the sampler's function; may be called again."""
        self._forget()
        self._attribute.restore()

    def call(self) -> int:
        """Return the index of the step of a model call that is about to start."""
        return self._clock.call()

    def next(self, p: Any, params: Any, run_call: int, sigma: float | None, **level: Any) -> ModelCall:
        """Return the step of a denoiser call that is about to start.

        :param p: the host's processing object
        :param params: the host's callback parameters of the call
        :param run_call: denoiser calls of this run so far
        :param sigma: noise level of the call, if a technique needs it
        :param level: other fields of :class:`ModelCall` that only the host's adapter knows
        """
        hires = bool(getattr(p, "is_hr_pass", False))
        index = self.call()
        return ModelCall(
            index=index,
            total=self._total,
            sigma=sigma,
            ratio=None if self._spans is None else self._spans.ratio(index, sigma),
            hires=hires,
            cfg_unit=self._cfg_unit(level.get("scale_multiplier", 1.0)),
            memory=self._memory_of(params),
            refined=self._first_model is not params.denoiser.inner_model,
            found=self._plan.found,
            seeds=tuple(p.seeds),
            host=HostCounters(
                lagging=params.sampling_step,
                call=params.denoiser.step,
                calls=params.denoiser.total_steps,
                run_call=run_call,
                pass_steps=params.total_sampling_steps,
                job_steps=p.steps,
                job_cfg_scale=asked_scale(p),
                hires_sampler=bool(getattr(p, "hr_sampler_name", None)),
            ),
            **level,
        )

    def _memory_of(self, params: Any) -> PassMemory:
        """Return what techniques keep, emptied if the model (after a refiner switch) or the latent's size has changed."""
        memory, model, size = self._memory
        if self._first_model is None:
            self._first_model = params.denoiser.inner_model
        if model is not params.denoiser.inner_model or size != params.x.shape[1:]:
            memory = PassMemory()
        self._memory = (memory, params.denoiser.inner_model, params.x.shape[1:])
        return memory

    def _forget(self) -> None:
        self._memory = (PassMemory(), None, None)
        self._first_model = None

    def _cfg_unit(self, scale_multiplier: float) -> float:
        """Return what CFG 1 is in the scale of a call: a sampler's lambda, or the sampler's multiplier of the scale."""
        unit = 1.0 if self._record is None else self._record.cfg_unit
        return scale_multiplier if unit == 1.0 else unit

    def _wrap(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the sampler function and its callback; keep the signature, as the host chooses arguments by it."""

        @functools.wraps(func)
        def sample(*args: Any, **kwargs: Any) -> Any:
            callback = kwargs.get("callback")
            given = inspect.signature(func).bind(*args, **kwargs)
            given.apply_defaults()
            self._start(func, {**self._from_options(func), **given.arguments})

            def heard(info: dict[str, Any]) -> None:
                self._clock.callback()
                if callback is not None:
                    callback(info)

            try:
                return func(*args, **{**kwargs, "callback": heard})
            except BaseException:  # an interrupt or error in the middle of a call is no missed combination
                self._on_break()
                raise

        return sample

    def _start(self, func: Callable[..., Any], arguments: dict[str, Any]) -> None:
        """Read from the sampler's arguments how its steps are made, and begin with an empty memory."""
        self._forget()
        calls = planned_calls(self._record, func, arguments, self._options)
        own_steps = self._record is not None and self._record.own_steps
        self._clock = _clock_of(self._record, calls)
        self._total = None if calls is None or own_steps else len(calls)
        if self._plan.needs_ratio:
            spans = require_spans(self._name, self._function, self._flow)
            if "timesteps" in arguments:
                model = arguments["model"].inner_model.inner_model
                arguments = {**arguments, "alpha_bars": model.alphas_cumprod.tolist()}
            self._spans = StepSpans(spans(arguments), self._name, in_time=self._flow is not None)


def planned_calls(
    record: SamplerRecord | None, func: Callable[..., Any], arguments: Mapping[str, Any], options: Mapping[str, Any]
) -> list[tuple[float, ...]] | None:
    """Return the levels of the model calls of each step, ``None`` if only the sampler knows them.

    :param record: the sampler's row
    :param func: its function, or its replacement with a flow model
    :param arguments: the function's arguments by name
    :param options: the host's options of the sampler; for an unknown one they say if it calls the model twice per step
    """
    instead = getattr(func, "second_order", False)
    if record is not None and not instead and getattr(func, "__name__", "") in record.functions:
        return None if record.calls is None else record.calls(arguments)
    if "sigmas" in arguments:
        return TWO_CALLS(arguments) if instead or options.get("second_order") else ONE_CALL(arguments)
    return ddim_calls(arguments) if "timesteps" in arguments else None


def _clock_of(record: SamplerRecord | None, calls: list[tuple[float, ...]] | None) -> StepClock:
    callback = AFTER_FIRST_CALL if record is None else record.callback
    if callback == ONE_CALL_AHEAD:
        return CallClock()
    if calls is None or callback != AFTER_FIRST_CALL:
        return StepClock(single_calls)
    return StepClock(lambda step: len(calls[step]) if step < len(calls) else 1)


def asked_scale(p: Any) -> float:
    """Return the CFG scale that the user set for the current pass; Forge has a separate one for the hires pass."""
    in_hires = bool(getattr(p, "is_hr_pass", False)) and hasattr(p, "hr_cfg")
    return p.hr_cfg if in_hires else p.cfg_scale
