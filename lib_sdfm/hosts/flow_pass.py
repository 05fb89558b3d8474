"""A pass with a flow model: the schedule in place of the host's, and the sampler's function fitted to it."""

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
from ..sampling.flow import AUTOMATIC, default_end, fitted, flow_sampler
from ..sampling.plan import Plan
from ..sampling.sampler_names import resolve_sampler
from .attributes import InstanceAttribute
from .run import NewPass, Pass

HIGHEST_OF_OTHERS = EPS_SIGMAS[1] * 1.01
BY_NAME = {name.lower().replace(" ", "_"): name for name in (AUTOMATIC, *SCHEDULES)}


@dataclass(frozen=True)
class FlowUse:
    """How a run uses a flow model.

    :param shift: above 0
    :param end: time at which the schedule ends before 0, at least; 0: what suits the sampler
    :param hires_end: the same in the hires pass
    :param shape: what the host's options say about the schedules' shapes
    """

    shift: float
    end: float = 0.0
    hires_end: float | None = None
    shape: Shape = Shape()


def flow_passes(new_pass: NewPass, use: FlowUse, is_flow: Callable[[], bool]) -> NewPass:
    """What makes a pass with a flow model, of what makes one without.

    :param is_flow: whether the model that is loaded at the moment is one; a refiner may not be
    """

    def make(plan: Plan, p: Any) -> Pass:
        schedule = FlowSchedule(p, use)
        try:
            return FlowPass(schedule, new_pass(plan, p), is_flow)
        except BaseException:
            schedule.detach()
            raise

    return make


class FlowPass:
    """One pass: what it is without the flow model, and the flow schedule."""

    def __init__(self, schedule: FlowSchedule, inner: Pass, is_flow: Callable[[], bool]) -> None:
        self._schedule, self._inner, self._is_flow = schedule, inner, is_flow

    @property
    def denoiser(self) -> Any:
        """The CFG denoiser that the pass is attached to."""
        return self._inner.denoiser

    @property
    def problem(self) -> Exception | None:
        """What went wrong where the host swallows exceptions."""
        return self._inner.problem

    def before_call(self, params: Any, run_call: int) -> None:
        """Gets ready for one denoiser call, after a refiner had its turn."""
        self._inner.before_call(params, run_call)
        if not self._is_flow():
            self._require_known(float(params.sigma.max()))

    def _require_known(self, sigma: float) -> None:
        """Other models than flow models know no noise level above their table's."""
        if sigma > HIGHEST_OF_OTHERS:
            self._inner.problem = self._inner.problem or UnsupportedError(
                f"Flow matching: the refiner is no flow model and takes over at noise level {sigma:.3g}, but knows none above "
                f"{EPS_SIGMAS[1]:.3g}. Set a later “Switch at”"
            )

    def detach(self) -> None:
        """Puts everything back; harmless when called again."""
        self._inner.detach()
        self._schedule.detach()


class FlowSchedule:
    """Attached to ``p.sampler`` when made, until :meth:`detach`: ``get_sigmas`` or ``get_timesteps``, and ``func``.

    :param p: the host's processing object
    :param use: how the flow model is used
    :raises UnsupportedError: if the schedule that was chosen has no meaning for a flow model
    """

    def __init__(self, p: Any, use: FlowUse) -> None:
        self._sampler, self._use = p.sampler, use
        self._name = p.sampler.config.name
        hires = bool(getattr(p, "is_hr_pass", False))
        asked = use.end if not hires or use.hires_end is None else use.hires_end
        self._end = asked or default_end(self._name, use.shift)
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
        """Puts everything back; harmless when called again."""
        for attribute in reversed(self._attributes):
            attribute.restore()

    def _replace(self, name: str, value: Any) -> None:
        self._attributes.append(InstanceAttribute(self._sampler, name, value))

    def _sigmas(self, p: Any, steps: int) -> Tensor:
        """Stands in for the sampler's ``get_sigmas``: noise levels, descending to 0."""
        if getattr(p, "sampler_noise_scheduler_override", None):
            return p.sampler_noise_scheduler_override(steps)
        chosen, shape = self._chosen, self._use.shape
        if chosen == AUTOMATIC:
            chosen, shape = flow_sampler(self._name).schedule, Shape()
        times = flow_times(chosen, steps, self._use.shift, self._end, shape)
        return torch.tensor(times_to_sigmas(times, LATEST_TIME), dtype=torch.float32)

    def _timesteps(self, p: Any, steps: int) -> Tensor:
        """Stands in for the sampler's ``get_timesteps``: places in the noise table, ascending."""
        times = flow_times(flow_sampler(self._name).schedule, steps, self._use.shift)[:-1]
        places = [round(TABLE_SIZE * unshift_time(t, self._use.shift)) - 1 for t in reversed(times)]
        device = getattr(self._sampler.model_wrap.inner_model.alphas_cumprod, "device", None)
        return torch.tensor([0, *places], device=device).clamp(0, TABLE_SIZE - 1)

    def _fitted(self, func: Callable[..., Tensor]) -> Callable[..., Tensor]:
        changed = fitted(self._name, func, self._end)
        if not flow_sampler(self._name).in_time:
            return changed

        @functools.wraps(changed)
        def sample(*args: Any, **kwargs: Any) -> Tensor:
            if kwargs.get("s_churn", 0) > 0:
                raise UnsupportedError(
                    f"Flow matching: {self._name} can't add noise on the way with a flow model. Set Sigma churn to 0, or "
                    "choose Euler"
                )
            return changed(*args, **kwargs)

        return sample


def schedule_of(p: Any, hires: bool) -> str:
    """The schedule that a job asks for, by its name here.

    :raises UnsupportedError: if it has no meaning for a flow model
    """
    said = (p.hr_scheduler if hires else getattr(p, "scheduler", None)) or AUTOMATIC
    name = BY_NAME.get(str(said).lower().replace(" ", "_"))
    if name is None:
        raise UnsupportedError(
            f"Flow matching: the schedule type {said} is made for another kind of model. Choose one of "
            + ", ".join(BY_NAME.values())
        )
    return name
