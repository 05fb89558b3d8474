"""Samplers that place their steps by themselves, on the flow model of a benchmark: from shift and model calls to latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.flow.analytic import AnalyticFlow, ExplodingModel
from bench.flow.host_samplers import sample_lcm, sample_plms
from bench.flow.libraries import sampling as k
from lib_sdfm.ops.flow import LATEST_TIME, shift_time, time_to_sigma
from lib_sdfm.ops.flow_schedules import flow_times, times_to_sigmas
from lib_sdfm.sampling.flow import default_end, fitted, flow_sampler

LCM_STRIDE = 20


class Start(Protocol):
    """Where sampling starts.

    :param flow: the model
    :param noise: at time 1
    """

    flow: AnalyticFlow
    noise: Tensor


Run = Callable[[Start, float, int], Tensor]


def levels_of(times: list[float]) -> Tensor:
    """Noise levels of times, ``(steps + 1,)``."""
    return torch.tensor(times_to_sigmas(times, LATEST_TIME), dtype=torch.float64)


def on(grid: Callable[[float, int], list[float]], solver: Callable[..., Tensor]) -> Run:
    """A sampler of timesteps on a grid of times; it ends at the grid's last."""

    def run(start: Start, shift: float, calls: int) -> Tensor:
        sigmas = levels_of(grid(shift, calls))
        return solver(ExplodingModel(start.flow), start.noise * (sigmas[0] ** 2 + 1).sqrt(), sigmas, disable=True)

    return run


def host_grid(shift: float, calls: int) -> list[float]:
    """The times of A1111's timestep samplers: equal strides over the table, downwards from below its end."""
    places = [min(place + 1, 999) for place in range(0, 1000, 1000 // (calls + 1))][: calls + 1]
    return [shift_time((place + 1) / 1000, shift) for place in reversed(places)]


def our_grid(name: str) -> Callable[[float, int], list[float]]:
    """The times that the extension gives to a sampler of timesteps."""

    def grid(shift: float, calls: int) -> list[float]:
        return [*flow_times(flow_sampler(name).schedule, calls, shift)[:-1], shift_time(0.001, shift)]

    return grid


def fewer(grid: Callable[[float, int], list[float]]) -> Callable[[float, int], list[float]]:
    """A grid for a sampler that makes one call more than steps."""
    return lambda shift, calls: grid(shift, calls - 1)


def lcm_grid(shift: float, calls: int) -> list[float]:
    """LCM's: of every twentieth entry of the table, evenly by the logarithm between two."""
    known = levels_of([shift_time(place / 1000, shift) for place in range(1000, 0, -LCM_STRIDE)]).log()
    places = torch.linspace(0, len(known) - 1, calls, dtype=torch.float64)
    low = places.floor().long().clamp(max=len(known) - 2)
    sigmas = torch.lerp(known[low], known[low + 1], places - low).exp()
    return [*(sigmas / (1 + sigmas)).tolist(), 0.0]


def divided(name: str, function: Callable[..., Tensor]) -> Run:
    """A sampler that divides the way itself; the tolerance of DPM adaptive decides how many calls it makes."""

    def run(start: Start, shift: float, calls: int) -> Tensor:
        highest = time_to_sigma(LATEST_TIME)
        ends: dict[str, Any] = {"sigma_min": time_to_sigma(shift_time(0.001, shift)), "sigma_max": highest}
        number = {"n": calls} if name == "DPM fast" else {}
        sample = fitted(name, function, default_end(name, shift))
        return sample(ExplodingModel(start.flow), start.noise * highest, disable=True, **ends, **number)

    return run


OWN_GRIDS: dict[str, Run] = {
    "DDIM (host's grid)": on(host_grid, k.sample_euler),
    "DDIM": on(our_grid("DDIM"), k.sample_euler),
    "PLMS (host's grid)": on(fewer(host_grid), sample_plms),
    "PLMS": on(fewer(our_grid("PLMS")), sample_plms),
    "DPM fast": divided("DPM fast", k.sample_dpm_fast),
    "DPM adaptive": divided("DPM adaptive", k.sample_dpm_adaptive),
    "LCM": on(lcm_grid, sample_lcm),
}
"""Samplers that make a grid of their own. DDIM without added noise is Euler's method."""
NOISY_GRIDS = ("LCM",)
