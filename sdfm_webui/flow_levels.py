"""The noise levels of a flow model's pass, computed beforehand."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.kind_pass import FlowUse, end_of, flow_sigmas, flow_timesteps, schedule_named
from lib_sdfm.ops.flow import time_table, time_to_sigma
from lib_sdfm.sampling.call_levels import at_the_end, one_step_each
from lib_sdfm.sampling.sampler_names import AUTOMATIC
from lib_sdfm.sampling.sampler_record import SamplerRecord
from lib_sdfm.sampling.step_spans import straight


class FlowLevels:
    """The schedule of one pass of a flow model, called as the host's is.

    :param use: how the flow model is used
    :param record: the sampler's row
    :param p: the values that the host's schedules read
    :raises UnsupportedError: if the steps can't be told, or the schedule isn't supported for flow models
    """

    def __init__(self, use: FlowUse, record: SamplerRecord, p: Any, hires: bool) -> None:
        if record.own_grid or record.flow.divides:
            raise UnsupportedError(f"with a flow model {record.name} chooses its steps itself")
        self._use, self._record, self._hires = use, record, hires
        self._schedule = schedule_named((p.hr_scheduler if hires else p.scheduler) or AUTOMATIC)
        self.sigmas = time_to_sigma(time_table(use.shift))

    def __call__(self, p: Any, steps: int) -> Tensor:
        """Return the pass' sigmas, descending, or timesteps, ascending."""
        name = self._record.name
        if self._record.in_timesteps:
            return flow_timesteps(name, steps, self._use.shift)
        return flow_sigmas(name, self._schedule, steps, self._use, end_of(name, self._use, self._hires))

    def calls(self, arguments: dict[str, Any]) -> list[tuple[float, ...]]:
        """Return the levels of the model calls of each step; of calls after a step's first they are approximate."""
        if self._record.flow.instead is not None:
            return one_step_each(straight, at_the_end)(arguments)
        return self._record.calls(arguments)
