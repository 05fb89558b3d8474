"""A pass with a checkpoint of another kind than the WebUI takes it for.

For a flow model its own schedule replaces the host's, and the sampler's function is adapted to it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..ops.flow import LATEST_TIME, TABLE_SIZE, unshift_time
from ..ops.flow_schedules import EPS_SIGMAS, SCHEDULES, Shape, flow_times, times_to_sigmas
from ..ops.flow_time import from_level
from ..sampling.flow import AUTOMATIC, DIVIDED_FROM, default_end, fitted, flow_sampler
from ..sampling.model_kind import ModelKind
from ..sampling.plan import Plan
from ..sampling.sampler_names import resolve_sampler
from .attributes import InstanceAttribute, undo_all
from .run import NewPass, Pass

HIGHEST_OF_OTHERS = EPS_SIGMAS[1] * 1.01
BY_NAME = {name.lower().replace(" ", "_"): name for name in (AUTOMATIC, *SCHEDULES)}


@dataclass(frozen=True)
class FlowUse:
    """How a run uses a flow model.

    :param shift: above 0
    :param end: minimum of the last time before 0; 0: the sampler's default
    :param hires_end: the same for the hires pass
    :param shape: the schedules' shapes, from the host's options
    """

    shift: float
    end: float = 0.0
    hires_end: float | None = None
    shape: Shape = Shape()


@dataclass(frozen=True)
class KindUse:
    """How a run uses the loaded model.

    :param kind: what it is sampled as
    :param flow: the schedule, for a flow model
    """

    kind: ModelKind
    flow: FlowUse | None = None


def kind_passes(new_pass: NewPass, use: KindUse | None, loaded_kind: Callable[[], ModelKind | None]) -> NewPass:
    """Return a factory of passes for this use of the model, from a factory of plain passes.

    :param loaded_kind: returns what the currently loaded model is sampled as; after a switch it is the refiner
    """
    if use is None or not use.kind.knows_pure_noise:
        return new_pass

    def make(plan: Plan, p: Any) -> Pass:
        schedule = PureNoiseStart(p) if use.flow is None else FlowSchedule(p, use.flow)
        try:
            return KindPass(new_pass(plan, p), schedule, use.kind, loaded_kind)
        except BaseException:
            schedule.detach()
            raise

    return make


class KindPass:
    """One pass: the plain pass, and what changes its sampler."""

    def __init__(
        self, inner: Pass, schedule: FlowSchedule | PureNoiseStart, kind: ModelKind, loaded_kind: Callable[[], ModelKind | None]
    ) -> None:
        self._schedule, self._inner, self._kind, self._loaded_kind = schedule, inner, kind, loaded_kind

    @property
    def denoiser(self) -> Any:
        """The CFG denoiser that the pass is attached to."""
        return self._inner.denoiser

    @property
    def problem(self) -> Exception | None:
        """The exception raised where the host swallows exceptions."""
        return self._inner.problem

    def before_call(self, params: Any, run_call: int) -> None:
        """Prepare for one denoiser call, after a possible switch to the refiner."""
        self._inner.before_call(params, run_call)
        kind = self._loaded_kind()
        if kind is None or not kind.knows_pure_noise:
            self._require_known(float(params.sigma.max()))

    def _require_known(self, sigma: float) -> None:
        """Record an error if a model with the usual noise table gets a noise level above it."""
        if sigma > HIGHEST_OF_OTHERS:
            flow = "Flow matching: the refiner is not a flow model"
            told = flow if self._kind.is_flow else "Zero terminal SNR: the refiner has an ordinary noise table"
            self._inner.problem = self._inner.problem or UnsupportedError(
                f"{told} and takes over at noise level {sigma:.3g}, but was trained on none above {EPS_SIGMAS[1]:.3g}. "
                "Set a later “Switch at”"
            )

    def detach(self) -> None:
        """Restore everything; may be called again."""
        undo_all(self._inner.detach, self._schedule.detach)


class PureNoiseStart:
    """Replacement of ``func`` of ``p.sampler``, until :meth:`detach`, for samplers whose errors are shares of the latent.

    With zero terminal SNR that begins as 4519 times noise: an error of 5% of it, which DPM adaptive allows, is many times the
    picture, and one step may go from there to where the picture is made. So one step of Euler's method, exact as far as the
    model sees nothing yet, goes down to a level at which the picture counts.
    """

    def __init__(self, p: Any) -> None:
        record, sampler = resolve_sampler(p.sampler.config.name).sampler, p.sampler
        by_error = record is not None and record.by_error
        self._func = InstanceAttribute(sampler, "func", from_level(sampler.func, DIVIDED_FROM, 0.0)) if by_error else None

    def detach(self) -> None:
        """Restore the function; may be called again."""
        if self._func is not None:
            self._func.restore()


class FlowSchedule:
    """Replacement of ``get_sigmas`` or ``get_timesteps``, and ``func``, of ``p.sampler``, until :meth:`detach`.

    :param p: the host's processing object
    :param use: how the flow model is used
    :raises UnsupportedError: if the chosen schedule is not supported for flow models
    """

    def __init__(self, p: Any, use: FlowUse) -> None:
        self._sampler, self._use = p.sampler, use
        self._name = p.sampler.config.name
        hires = bool(getattr(p, "is_hr_pass", False))
        self._end = end_of(self._name, use, hires)
        self._attributes: list[InstanceAttribute] = []
        record = resolve_sampler(self._name).sampler
        own_grid = record is not None and record.own_grid
        if "timesteps" in inspect.signature(p.sampler.func).parameters:
            if not own_grid:
                self._replace("get_timesteps", self._timesteps)
            return
        self._chosen = schedule_of(p, hires)
        if not own_grid:
            self._replace("get_sigmas", self._sigmas)
        self._replace("func", self._fitted(p.sampler.func))

    def detach(self) -> None:
        """Restore everything; may be called again."""
        for attribute in reversed(self._attributes):
            attribute.restore()

    def _replace(self, name: str, value: Any) -> None:
        self._attributes.append(InstanceAttribute(self._sampler, name, value))

    def _sigmas(self, p: Any, steps: int) -> Tensor:
        """Replace the sampler's ``get_sigmas``: return noise levels, descending to 0."""
        if getattr(p, "sampler_noise_scheduler_override", None):
            return p.sampler_noise_scheduler_override(steps)
        return flow_sigmas(self._name, self._chosen, steps, self._use, self._end)

    def _timesteps(self, p: Any, steps: int) -> Tensor:
        """Replace the sampler's ``get_timesteps``: return indices into the noise table, ascending."""
        device = getattr(self._sampler.model_wrap.inner_model.alphas_cumprod, "device", None)
        return flow_timesteps(self._name, steps, self._use.shift).to(device)

    def _fitted(self, func: Callable[..., Tensor]) -> Callable[..., Tensor]:
        changed = fitted(self._name, func, self._end)
        if not flow_sampler(self._name).in_time:
            return changed

        @functools.wraps(changed)
        def sample(*args: Any, **kwargs: Any) -> Tensor:
            if kwargs.get("s_churn", 0) > 0:
                raise UnsupportedError(
                    f"Flow matching: {self._name} can't add noise during sampling with a flow model. Set Sigma churn to 0, or "
                    "choose Euler"
                )
            return changed(*args, **kwargs)

        return sample


def end_of(name: str, use: FlowUse, hires: bool) -> float:
    """Return the minimum of the last time before 0 of a sampler's schedule in a pass."""
    asked = use.end if not hires or use.hires_end is None else use.hires_end
    return asked or default_end(name, use.shift)


def flow_sigmas(name: str, schedule: str, steps: int, use: FlowUse, end: float) -> Tensor:
    """Return the noise levels of a flow model's schedule, descending to 0, ``(steps + 1,)``.

    :param name: the sampler's name
    :param schedule: see :func:`schedule_named`
    :param end: minimum of the last time before 0
    """
    shape = use.shape
    if schedule == AUTOMATIC:
        schedule, shape = flow_sampler(name).schedule, Shape()
    times = flow_times(schedule, steps, use.shift, end, shape)
    return torch.tensor(times_to_sigmas(times, LATEST_TIME), dtype=torch.float32)


def flow_timesteps(name: str, steps: int, shift: float) -> Tensor:
    """Return a flow model's schedule for a sampler that works in indices of the noise table, ascending, ``(steps + 1,)``."""
    times = flow_times(flow_sampler(name).schedule, steps, shift)[:-1]
    places = [round(TABLE_SIZE * unshift_time(t, shift)) - 1 for t in reversed(times)]
    return torch.tensor([0, *places]).clamp(0, TABLE_SIZE - 1)


def schedule_of(p: Any, hires: bool) -> str:
    """Return the name, as used here, of the schedule that a job asks for.

    :raises UnsupportedError: if it is not supported for flow models
    """
    return schedule_named((p.hr_scheduler if hires else getattr(p, "scheduler", None)) or AUTOMATIC)


def schedule_named(said: str) -> str:
    """Return the name, as used here, of a schedule.

    :raises UnsupportedError: if it is not supported for flow models
    """
    name = BY_NAME.get(str(said).lower().replace(" ", "_"))
    if name is None:
        raise UnsupportedError(
            f"Flow matching: the schedule type {said} is not supported for flow models. Choose one of "
            + ", ".join(BY_NAME.values())
        )
    return name
