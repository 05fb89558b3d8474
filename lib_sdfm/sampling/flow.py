"""How samplers are run with a flow model, by their name in a WebUI."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..ops.flow import shift_time, time_to_sigma
from ..ops.flow_time import from_level, in_time, two_calls
from .sampler_names import AUTOMATIC, resolve_sampler
from .sampler_record import FlowRun

__all__ = ["AUTOMATIC", "CLEAN", "DIVIDED_FROM", "default_end", "fitted", "flow_sampler"]

CLEAN = 0.02
"""Unshifted time of the last step of samplers that work in ``log(sigma)``."""
DIVIDED_FROM = 20.0
"""Noise level at which the grid of samplers that make their own starts: time 0.95."""


def flow_sampler(name: str) -> FlowRun:
    """Return how the sampler of a name is run; the defaults for an unknown name."""
    record = resolve_sampler(name).sampler
    return FlowRun() if record is None else record.flow


def default_end(name: str, shift: float) -> float:
    """Return the minimum of the last time before 0 for a sampler's schedule; 0 leaves the schedule unchanged."""
    return shift_time(CLEAN, shift) if flow_sampler(name).softened else 0.0


def fitted(name: str, function: Callable[..., Tensor], end: float) -> Callable[..., Tensor]:
    """Return a sampler's function as it is run with a flow model, with the same signature.

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
