"""How samplers are run with a flow model, by the name that a WebUI has for them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..ops.flow import shift_time, time_to_sigma
from ..ops.flow_time import from_level, in_time, two_calls
from .sampler_names import AUTOMATIC, resolve_sampler
from .sampler_record import FlowRun

__all__ = ["AUTOMATIC", "CLEAN", "DIVIDED_FROM", "default_end", "fitted", "flow_sampler"]

CLEAN = 0.02
"""Unshifted time at which samplers that look at ``log(sigma)`` make their last step."""
DIVIDED_FROM = 20.0
"""Noise level from which samplers that divide the way by themselves do so: time 0.95."""


def flow_sampler(name: str) -> FlowRun:
    """Return how the sampler of a name is run; the defaults for a name that nobody knows."""
    record = resolve_sampler(name).sampler
    return FlowRun() if record is None else record.flow


def default_end(name: str, shift: float) -> float:
    """Return the time at which a sampler's schedule ends before 0, at least; 0 where it ends as it does."""
    return shift_time(CLEAN, shift) if flow_sampler(name).softened else 0.0


def fitted(name: str, function: Callable[..., Tensor], end: float) -> Callable[..., Tensor]:
    """Return a sampler's function as it is run with a flow model; the same signature.

    :param name: the sampler's name
    :param end: the schedule's end, see :func:`default_end`
    """
    suits = flow_sampler(name)
    if suits.instead is not None:
        function = two_calls(function, suits.instead)
    if suits.in_time:
        return in_time(function)
    if suits.divides:
        return from_level(function, DIVIDED_FROM, time_to_sigma(end))
    return function
