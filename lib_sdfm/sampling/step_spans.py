"""Noise levels at the start and end of each sampler step, which CFG++ needs to change the renoising (see ``ModelCall.ratio``).

A step goes from one noise level to another by ``x' = D + ratio * (x - D) + ...`` and may add noise afterwards; the ratio is
``end / start``. Each function here returns the steps of one kind of sampler, as implemented in the hosts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..errors import UnsupportedError
from ..ops.descent import ancestral_levels
from ..ops.flow import LATEST_TIME, sigma_to_time, time_ratio, time_to_sigma

Arguments = Mapping[str, Any]
"""A sampler function's arguments by name, defaults included; for timestep samplers also ``alpha_bars``, the noise table."""

LARGEST_CHURN = 2**0.5 - 1
DEVIATION = 0.1
"""Largest relative error of a step's start: UniPC's are between timesteps, steps of another grid differ by more."""
RESTART_FROM = 20
"""Number of steps from which Restart jumps back up."""


class StepSpan(NamedTuple):
    """One step of a sampler.

    :param start: noise level at its start
    :param end: noise level at its end, before the sampler adds noise
    """

    start: float
    end: float


Spans = Callable[[Arguments], list[StepSpan]]


def levels_of(arguments: Arguments) -> list[float]:
    """Return the schedule of a sampler that works in noise levels, ``(steps + 1,)``."""
    return arguments["sigmas"].tolist()


def straight(arguments: Arguments) -> list[StepSpan]:
    """Return steps from each noise level of the schedule to the next."""
    return _spans(levels_of(arguments))


def churned(arguments: Arguments) -> list[StepSpan]:
    """Return steps that add noise first (Karras et al., arXiv 2206.00364, algorithm 2)."""
    spans = straight(arguments)
    gamma = min(arguments.get("s_churn", 0.0) / max(len(spans), 1), LARGEST_CHURN)
    low, high = arguments.get("s_tmin", 0.0), arguments.get("s_tmax", math.inf)
    return [StepSpan(start * (1 + gamma if low <= start <= high else 1), end) for start, end in spans]


def ancestral(arguments: Arguments) -> list[StepSpan]:
    """Return steps down to a lower level, from which noise leads back to the schedule's."""
    eta = arguments["eta"]
    return [StepSpan(start, ancestral_levels(start, end, eta)[0] if end < start else end) for start, end in straight(arguments)]


def stochastic(arguments: Arguments) -> list[StepSpan]:
    """Return the steps of SDE solvers in ``-log(sigma)``, which are ``1 + eta`` times as long."""
    return [StepSpan(start, start * (end / start) ** (1 + arguments["eta"])) for start, end in straight(arguments)]


def ancestral_in_time(arguments: Arguments) -> list[StepSpan]:
    """Return the steps of ancestral samplers with a flow model that the host samples itself, in the model's time.

    A step ends at ``t' * (1 + (t' / t - 1) * eta)``; then the latent is scaled down to ``t'`` and gets its noise (ComfyUI's).
    """
    eta = arguments["eta"]
    return [StepSpan(start, end * (1 + (end / start - 1) * eta) if start else end) for start, end in straight(arguments)]


def through_sigma(spans: Spans) -> Spans:
    """Return steps in a flow model's time for a sampler that makes them in noise levels: SDE solvers of Forge Neo."""

    def in_time(arguments: Arguments) -> list[StepSpan]:
        levels = time_to_sigma(arguments["sigmas"].double().clamp(max=LATEST_TIME))
        found = spans({**arguments, "sigmas": levels})
        return [StepSpan(sigma_to_time(start), sigma_to_time(end)) for start, end in found]

    return in_time


def posterior(arguments: Arguments) -> list[StepSpan]:
    """Return the steps of DDPM: the mean of the posterior, ``D + (end / start)^2 * (x - D)``."""
    return [StepSpan(start, end * end / start) for start, end in straight(arguments)]


def fresh(arguments: Arguments) -> list[StepSpan]:
    """Return the steps of LCM: fresh noise on the denoised image, none of the old noise is kept."""
    return [StepSpan(start, 0.0) for start, _ in straight(arguments)]


def dpm_fast(arguments: Arguments) -> list[StepSpan]:
    """Return the steps of DPM fast: of equal length in ``-log(sigma)``, a third as many as model calls."""
    highest, lowest = float(arguments["sigma_max"]), float(arguments["sigma_min"])
    steps = arguments["n"] // 3 + 1
    levels = [highest * (lowest / highest) ** (i / steps) for i in range(steps + 1)]
    return [StepSpan(start, max(ancestral_levels(start, end, arguments["eta"])[0], lowest)) for start, end in pairwise(levels)]


def restart(arguments: Arguments) -> list[StepSpan]:
    """Return the steps of Restart (arXiv 2306.14878) as in A1111: from 20 steps on, some are repeated from 2 down to 0.1."""
    levels = levels_of(arguments)
    steps = len(levels) - 1
    if steps < RESTART_FROM:
        return _spans(levels)
    again, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    base = [*_karras(steps - again * times, levels[-2], levels[0]), 0.0]
    bottom, top = (_nearest(base, level) for level in (0.1, 2.0))
    spans = _spans(base)
    if top < bottom:
        spans[bottom:bottom] = _spans(_karras(again + 1, base[bottom], base[top])) * times
    return spans


def ddim(arguments: Arguments) -> list[StepSpan]:
    """Return the steps of DDIM: from timestep to timestep; eta is the ancestral samplers'."""
    levels = [_sigma_of(arguments["alpha_bars"], timestep) for timestep in reversed(arguments["timesteps"].tolist())]
    eta = arguments.get("eta", 0.0)
    return [StepSpan(start, ancestral_levels(start, end, eta)[0]) for start, end in pairwise(levels)]


def unipc(arguments: Arguments) -> list[StepSpan]:
    """Return the steps of A1111's UniPC: its own uniform grid, from the last timestep if it starts from a picture."""
    number, first = len(arguments["timesteps"]), 999.0
    if arguments.get("is_img2img"):
        first = float(arguments["timesteps"][-1])
    return _spans([_sigma_of(arguments["alpha_bars"], first * (1 - i / number)) for i in range(number + 1)])


def _spans(levels: Sequence[float]) -> list[StepSpan]:
    return [StepSpan(start, end) for start, end in pairwise(levels)]


def _karras(number: int, lowest: float, highest: float) -> list[float]:
    """Return the noise levels of Karras et al. (arXiv 2206.00364, equation 5, rho 7)."""
    ends = [highest ** (1 / 7), lowest ** (1 / 7)]
    return [(ends[0] + (ends[1] - ends[0]) * i / max(number - 1, 1)) ** 7 for i in range(number)]


def _nearest(levels: Sequence[float], wanted: float) -> int:
    return min(range(len(levels)), key=lambda i: abs(levels[i] - wanted))


def _sigma_of(alpha_bars: Sequence[float], timestep: float) -> float:
    """Return the noise level of a timestep, interpolated between the table's entries by their logarithm."""
    before = min(int(timestep), len(alpha_bars) - 2)
    share = timestep - before
    alpha_bar = alpha_bars[before] ** (1 - share) * alpha_bars[before + 1] ** share
    return math.sqrt((1 - alpha_bar) / alpha_bar)


class StepSpans:
    """The steps of one pass.

    :param spans: start and end of each
    :param sampler: name of the sampler, for the message
    :param in_time: true if they are a flow model's times, not noise levels
    """

    def __init__(self, spans: Sequence[StepSpan], sampler: str, in_time: bool = False) -> None:
        self._spans, self._sampler, self._in_time = spans, sampler, in_time
        self._checked: set[int] = set()

    def ratio(self, index: int, sigma: float) -> float:
        """Return the ratio of a step: noise level at its end over the one at its start; 1 if both are 0.

        :param index: the step
        :param sigma: noise level of the call; the first call of a step is at its start
        :raises UnsupportedError: if the sampler's noise level is not the expected one
        """
        known = index < len(self._spans)
        start, end = self._spans[index] if known else (math.nan, math.nan)
        level = sigma_to_time(sigma) if self._in_time else sigma
        if index not in self._checked and not abs(level - start) <= DEVIATION * start:
            raise UnsupportedError(
                f"CFG++: step {index} of {self._sampler} starts at noise level {level:.4g}, not {start:.4g} as its schedule "
                "says; another extension or a WebUI setting changes its steps"
            )
        self._checked.add(index)
        if self._in_time:
            return time_ratio(start, end)
        return 1.0 if start == end else end / start
