"""How far each step of a sampler goes down: what CFG++ must know to change a step's renoising (contract: :class:`Step`).

A step goes from a noise level to another by ``x' = D + ratio * (x - D) + ...`` and may add noise afterwards; the ratio is
``end / start``. Samplers are told apart by the names of their functions, the same in all WebUIs; what a function does with
its arguments is written down here once, as the hosts' samplers do it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..errors import UnsupportedError
from ..ops import cfgpp_samplers
from ..ops.descent import ancestral_levels

EXACT, APPROXIMATE = "exact", "approximate"
Way = tuple[float, float]
"""Noise level where a step starts, and where it ends before noise is added."""
Arguments = Mapping[str, Any]
"""A sampler function's arguments by name, defaults included; for timestep samplers with ``alpha_bars``, the noise table."""

LARGEST_CHURN = 2**0.5 - 1
DEVIATION = 0.1
"""How far off a step may start: UniPC's lie between timesteps, another grid's steps are elsewhere by more."""


@dataclass(frozen=True)
class Renoising:
    """What is known about a sampler.

    :param names: the names that users know it by
    :param grade: whether CFG++ through the denoised image is exact; approximate where a step is of higher order: exact
        as far as predictions don't change within what a step looks at
    :param ways: its steps for its arguments
    """

    names: tuple[str, ...]
    grade: str
    ways: Callable[[Arguments], list[Way]]


def _levels(arguments: Arguments) -> list[float]:
    return arguments["sigmas"].tolist()


def _straight(arguments: Arguments) -> list[Way]:
    return list(pairwise(_levels(arguments)))


def _churned(arguments: Arguments) -> list[Way]:
    """Noise is added first (Karras et al., arXiv 2206.00364, algorithm 2)."""
    ways = _straight(arguments)
    gamma = min(arguments.get("s_churn", 0.0) / max(len(ways), 1), LARGEST_CHURN)
    low, high = arguments.get("s_tmin", 0.0), arguments.get("s_tmax", math.inf)
    return [(start * (1 + gamma if low <= start <= high else 1), end) for start, end in ways]


def _ancestral(arguments: Arguments) -> list[Way]:
    eta = arguments["eta"]
    return [(start, ancestral_levels(start, end, eta)[0] if end < start else end) for start, end in _straight(arguments)]


def _stochastic(arguments: Arguments) -> list[Way]:
    """Solvers of the stochastic equation in ``-log(sigma)``: the way is ``1 + eta`` times as long."""
    return [(start, start * (end / start) ** (1 + arguments["eta"])) for start, end in _straight(arguments)]


def _posterior(arguments: Arguments) -> list[Way]:
    """DDPM: the mean of the posterior, ``D + (end / start)^2 * (x - D)``."""
    return [(start, end * end / start) for start, end in _straight(arguments)]


def _fresh(arguments: Arguments) -> list[Way]:
    """LCM: fresh noise on the denoised image; nothing of the old is kept."""
    return [(start, 0.0) for start, _ in _straight(arguments)]


def _dpm_fast(arguments: Arguments) -> list[Way]:
    """Steps of equal length in ``-log(sigma)``, a third as many as model calls."""
    highest, lowest = float(arguments["sigma_max"]), float(arguments["sigma_min"])
    steps = arguments["n"] // 3 + 1
    levels = [highest * (lowest / highest) ** (i / steps) for i in range(steps + 1)]
    return [(start, max(ancestral_levels(start, end, arguments["eta"])[0], lowest)) for start, end in pairwise(levels)]


def _restart(arguments: Arguments) -> list[Way]:
    """Restart (arXiv 2306.14878) as A1111 does it: from 20 steps on, some of them again from 2 down to 0.1."""
    levels = _levels(arguments)
    steps = len(levels) - 1
    if steps < 20:
        return list(pairwise(levels))
    again, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    base = [*_karras(steps - again * times, levels[-2], levels[0]), 0.0]
    bottom, top = (_nearest(base, level) for level in (0.1, 2.0))
    ways = list(pairwise(base))
    if top < bottom:
        ways[bottom:bottom] = list(pairwise(_karras(again + 1, base[bottom], base[top]))) * times
    return ways


def _karras(number: int, lowest: float, highest: float) -> list[float]:
    """Noise levels of Karras et al. (arXiv 2206.00364, equation 5, rho 7)."""
    ends = [highest ** (1 / 7), lowest ** (1 / 7)]
    return [(ends[0] + (ends[1] - ends[0]) * i / max(number - 1, 1)) ** 7 for i in range(number)]


def _nearest(levels: Sequence[float], wanted: float) -> int:
    return min(range(len(levels)), key=lambda i: abs(levels[i] - wanted))


def _ddim(arguments: Arguments) -> list[Way]:
    """From timestep to timestep; eta is the ancestral samplers'."""
    levels = [_sigma_of(arguments["alpha_bars"], timestep) for timestep in reversed(arguments["timesteps"].tolist())]
    return [(start, ancestral_levels(start, end, arguments.get("eta", 0.0))[0]) for start, end in pairwise(levels)]


def _unipc(arguments: Arguments) -> list[Way]:
    """A1111's UniPC has a uniform grid of its own, from the last timestep where it starts from a picture."""
    number, first = len(arguments["timesteps"]), 999.0
    if arguments.get("is_img2img"):
        first = float(arguments["timesteps"][-1])
    levels = [_sigma_of(arguments["alpha_bars"], first * (1 - i / number)) for i in range(number + 1)]
    return list(pairwise(levels))


def _sigma_of(alpha_bars: Sequence[float], timestep: float) -> float:
    """Noise level of a timestep, between the table's entries by their logarithm."""
    before = min(int(timestep), len(alpha_bars) - 2)
    share = timestep - before
    alpha_bar = alpha_bars[before] ** (1 - share) * alpha_bars[before + 1] ** share
    return math.sqrt((1 - alpha_bar) / alpha_bar)


RENOISING = {
    "sample_euler": Renoising(("Euler",), EXACT, _churned),
    "sample_euler_ancestral": Renoising(("Euler a",), EXACT, _ancestral),
    "ddim": Renoising(("DDIM",), EXACT, _ddim),
    "sample_ddpm": Renoising(("DDPM",), EXACT, _posterior),
    "sample_lcm": Renoising(("LCM",), EXACT, _fresh),
    "sample_heun": Renoising(("Heun",), APPROXIMATE, _churned),
    "sample_heunpp2": Renoising(("HeunPP2",), APPROXIMATE, _churned),
    "restart_sampler": Renoising(("Restart",), APPROXIMATE, _restart),
    "sample_dpm_2": Renoising(("DPM2",), APPROXIMATE, _churned),
    "sample_dpm_2_ancestral": Renoising(("DPM2 a",), APPROXIMATE, _ancestral),
    "sample_dpm_fast": Renoising(("DPM fast",), APPROXIMATE, _dpm_fast),
    "sample_dpmpp_2s_ancestral": Renoising(("DPM++ 2S a",), APPROXIMATE, _ancestral),
    "sample_dpmpp_sde": Renoising(("DPM++ SDE",), APPROXIMATE, _ancestral),
    "sample_dpmpp_2m": Renoising(("DPM++ 2M",), APPROXIMATE, _straight),
    "sample_dpmpp_2m_sde": Renoising(("DPM++ 2M SDE", "DPM++ 2M SDE Heun"), APPROXIMATE, _stochastic),
    "sample_dpmpp_3m_sde": Renoising(("DPM++ 3M SDE",), APPROXIMATE, _stochastic),
    "sample_lms": Renoising(("LMS",), APPROXIMATE, _straight),
    "sample_ipndm": Renoising(("IPNDM",), APPROXIMATE, _straight),
    "sample_ipndm_v": Renoising(("IPNDM_V",), APPROXIMATE, _straight),
    "sample_deis": Renoising(("DEIS",), APPROXIMATE, _straight),
    "plms": Renoising(("PLMS",), APPROXIMATE, _ddim),
    "unipc": Renoising(("UniPC",), APPROXIMATE, _unipc),
}
"""What is known, by the name of the sampler's function."""

OWN_CFGPP = {"ddim_cfgpp", *(name for name in vars(cfgpp_samplers) if name.startswith("sample_"))}
"""Functions that renoise with the uncond prediction themselves."""


def require_renoising(function: str, sampler: str) -> Renoising:
    """What is known about a sampler.

    :param function: name of its function
    :param sampler: name under which the user knows it
    :raises UnsupportedError: if CFG++ can't be had with it
    """
    if function in OWN_CFGPP:
        raise UnsupportedError(
            f"CFG++: {sampler} renoises with the uncond prediction itself. Switch the technique CFG++ off and set lambda by "
            "the CFG scale, or choose the plain sampler"
        )
    if function == "sample_dpm_adaptive":
        raise UnsupportedError(
            f"CFG++: {sampler} chooses its steps while it runs, so that their length isn't known. {_others()}"
        )
    if function not in RENOISING:
        raise UnsupportedError(f"CFG++: how far the steps of {sampler} go isn't known. {_others()}")
    return RENOISING[function]


def _others() -> str:
    return "Choose another sampler: " + ", ".join(name for known in RENOISING.values() for name in known.names)


class StepWays:
    """The steps of one pass.

    :param ways: where they start and end
    :param sampler: name of the sampler, for the message
    """

    def __init__(self, ways: list[Way], sampler: str) -> None:
        self._ways, self._sampler = ways, sampler
        self._checked: set[int] = set()

    def ratio(self, index: int, sigma: float) -> float:
        """How far a step goes down: end over start.

        :param index: the step
        :param sigma: noise level of the call; the first call of a step is made where it starts
        :raises UnsupportedError: if the sampler isn't where it should be
        """
        known = index < len(self._ways)
        start, end = self._ways[index] if known else (math.nan, math.nan)
        if index not in self._checked and not abs(sigma - start) <= DEVIATION * start:
            raise UnsupportedError(
                f"CFG++: step {index} of {self._sampler} starts at noise level {sigma:.4g}, not {start:.4g} as its schedule "
                "says; another extension or a setting of the WebUI changes its steps"
            )
        self._checked.add(index)
        return end / start
