"""What suits which sampler with a flow model; measured by ``bench/flow_samplers.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..ops.flow import shift_time, time_to_sigma
from ..ops.flow_time import from_level, heun_weighted, in_time, two_calls

AUTOMATIC = "Automatic"
CLEAN = 0.02
"""Unshifted time at which samplers that look at ``log(sigma)`` make their last step."""


DIVIDED_FROM = 20.0
"""Noise level from which samplers that divide the way by themselves do so: time 0.95."""


@dataclass(frozen=True)
class FlowSampler:
    """How a sampler is run.

    :param schedule: what Automatic means
    :param in_time: whether it runs in the model's time, see :mod:`lib_sdfm.ops.flow_time`
    :param softened: whether it needs a schedule whose last step is no jump in ``log(sigma)``
    :param divides: whether it makes a grid of its own between two noise levels
    :param instead: what runs in its place, with two model calls a step
    """

    schedule: str = "Beta"
    in_time: bool = False
    softened: bool = True
    divides: bool = False
    instead: Callable[..., Tensor] | None = None


_FIRST_ORDER = FlowSampler("Normal", softened=False)
_IN_TIME = FlowSampler(in_time=True, softened=False)
_OWN_PLACES = FlowSampler(softened=False)
_STOCHASTIC = FlowSampler("Exponential")
SAMPLERS: dict[str, FlowSampler] = {
    "Euler": _FIRST_ORDER,
    "Euler CFG++": _FIRST_ORDER,
    "Gradient Estimation CFG++": FlowSampler("Normal"),
    "DDIM": _FIRST_ORDER,
    "DDIM CFG++": _FIRST_ORDER,
    "PLMS": _OWN_PLACES,
    "UniPC": _OWN_PLACES,
    "LCM": _OWN_PLACES,
    "Heun": _IN_TIME,
    "DPM2": _IN_TIME,
    "LMS": _IN_TIME,
    "IPNDM": _IN_TIME,
    "IPNDM_V": FlowSampler("Karras", in_time=True, softened=False),
    "HeunPP2": FlowSampler(in_time=True, softened=False, instead=heun_weighted),
    "DPM++ 2M SDE": _STOCHASTIC,
    "DPM++ 2M SDE Heun": _STOCHASTIC,
    "DPM++ 3M SDE": _STOCHASTIC,
    "Restart": FlowSampler(divides=True),
    "DPM fast": FlowSampler(divides=True),
    "DPM adaptive": FlowSampler(divides=True),
}
"""By the name that WebUIs show; any other sampler is run as the default says."""


def flow_sampler(name: str) -> FlowSampler:
    """How the sampler of a name is run."""
    return SAMPLERS.get(name, FlowSampler())


def default_end(name: str, shift: float) -> float:
    """The time at which a sampler's schedule ends before 0, at least; 0 where it ends as it does."""
    return shift_time(CLEAN, shift) if flow_sampler(name).softened else 0.0


def fitted(name: str, function: Callable[..., Tensor], end: float) -> Callable[..., Tensor]:
    """A sampler's function as it is run with a flow model; the same signature.

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
