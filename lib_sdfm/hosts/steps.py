"""Where a pass stands, from its sampler's arguments and callbacks: the same samplers run on both hosts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..sampling.clock import (
    CallClock,
    LastCalls,
    StepClock,
    dpm_fast_calls,
    dpm_fast_steps,
    heunpp2_calls,
    second_order_calls,
    single_calls,
)
from ..sampling.renoising import StepWays, require_renoising
from ..sampling.step import HostCounters, Step
from .attributes import InstanceAttribute

OWN_STEPS = ("DPM adaptive", "Restart")
"""Samplers that make other steps than the schedule's, how many only they know."""


class SamplerSteps:
    """Listens to a sampler's function from when it is made until :meth:`detach`.

    :param sampler: the host's sampler object
    :param on_break: called when the sampler's function ends by an exception, an interrupt too
    :param needs_ratio: whether somebody must know how far each step goes
    """

    def __init__(self, sampler: Any, on_break: Callable[[], None], needs_ratio: bool = False) -> None:
        self._name, self._options = sampler.config.name, sampler.config.options
        self._on_break, self._needs_ratio = on_break, needs_ratio
        self._ways: StepWays | None = None
        self._clock, self._total = StepClock(single_calls), None
        self._attribute = InstanceAttribute(sampler, "func", self._wrap(sampler.func))

    def detach(self) -> None:
        """Puts the sampler's function back; harmless when called again."""
        self._attribute.restore()

    def call(self) -> int:
        """The index of the step of a model call that begins."""
        return self._clock.call()

    def next(self, p: Any, params: Any, run_call: int, sigma: float | None, **level: Any) -> Step:
        """The step of a denoiser call that begins.

        :param p: the host's processing object
        :param params: what the host tells about the call
        :param run_call: denoiser calls of this run so far
        :param sigma: noise level of the call, if it was asked for
        :param level: what else only the host's adapter knows of a :class:`Step`
        """
        hires = bool(getattr(p, "is_hr_pass", False))
        index = self.call()
        return Step(
            index=index,
            total=self._total,
            sigma=sigma,
            ratio=None if self._ways is None else self._ways.ratio(index, sigma),
            hires=hires,
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

    def _wrap(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The sampler function with its callback heard; keeps the signature, from which the host picks arguments."""

        @functools.wraps(func)
        def sample(*args: Any, **kwargs: Any) -> Any:
            callback = kwargs.get("callback")
            self._start(func, kwargs)
            if self._needs_ratio:
                self._ways = self._ways_of(func, args, kwargs)

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
        """Learns from the sampler's arguments how its steps are made."""
        self._clock = CallClock() if self._name == "UniPC" else StepClock(self._calls_of(func, arguments))
        self._total = self._steps_of(arguments)

    def _ways_of(self, func: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> StepWays:
        renoising = require_renoising(func.__name__, self._name)
        given = inspect.signature(func).bind(*args, **kwargs)
        given.apply_defaults()
        arguments = given.arguments
        if "timesteps" in arguments:
            model = arguments["model"].inner_model.inner_model
            arguments["alpha_bars"] = model.alphas_cumprod.tolist()
        return StepWays(renoising.ways(arguments), self._name)

    def _steps_of(self, arguments: dict[str, Any]) -> int | None:
        if self._name == "DPM fast":
            return dpm_fast_steps(arguments["n"])
        points = arguments.get("sigmas", arguments.get("timesteps"))
        if self._name in OWN_STEPS or points is None:
            return None
        return len(points) - (self._name != "UniPC")

    def _calls_of(self, func: Callable[..., Any], arguments: dict[str, Any]) -> LastCalls:
        if self._name == "DPM fast":
            return dpm_fast_calls(arguments["n"])
        if getattr(func, "second_order", self._options.get("second_order")):  # flow matching runs HeunPP2 so
            return second_order_calls(arguments["sigmas"].tolist())
        if self._name == "HeunPP2":
            return heunpp2_calls(len(arguments["sigmas"]) - 1)
        return single_calls


def asked_scale(p: Any) -> float:
    """The CFG scale that the user asked for in the present pass; Forge has one of its own for the hires pass."""
    in_hires = bool(getattr(p, "is_hr_pass", False)) and hasattr(p, "hr_cfg")
    return p.hr_cfg if in_hires else p.cfg_scale
