"""How well samplers do with a flow model, beside ``sigma = t`` for all of them: ``python -m bench.flow_samplers --json``.

Each row is one sampler with one schedule, shift and number of model calls. ``error`` is how far the result is from the exact
one (root mean square; the latents' standard deviation is 1); for stochastic samplers how far its distribution is from the
exact one (Wasserstein 2; 0.066 is what as many exact samples give). ``error_naive`` is the same with ``sigma = t``, which is
ComfyUI's way without its rewritten samplers (none for samplers with a grid of their own: they need a noise table), and
``error_euler`` Euler's with the same schedule.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.analytic_flow import AnalyticFlow, ExplodingModel, TimeModel
from bench.libraries import sampling as k
from lib_sdfm.ops.flow import LATEST_TIME, shift_time, time_to_sigma
from lib_sdfm.ops.flow_schedules import flow_times, times_to_sigmas
from lib_sdfm.sampling.flow import AUTOMATIC, default_end, fitted, flow_sampler

CALLS, SHIFTS, SCHEDULES = (10, 20, 40), (1.0, 3.0, 6.0), (AUTOMATIC, "Normal", "Beta")
IMAGES, SIDE, MODES, SPREADS = 2, 32, 3, (0.1, 0.6)
BROWNIAN_SEED = 5
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Sampler:
    """How a sampler of the WebUIs is called.

    :param function: k-diffusion's
    :param order: model calls per step; the last step takes one
    :param noisy: whether its result has to be judged by its distribution
    :param options: further arguments
    """

    function: Callable[..., Tensor]
    order: int = 1
    noisy: bool = False
    options: tuple[tuple[str, Any], ...] = ()


FIXED: dict[str, Sampler] = {
    "Euler": Sampler(k.sample_euler),
    "LMS": Sampler(k.sample_lms),
    "Heun": Sampler(k.sample_heun, order=2),
    "DPM2": Sampler(k.sample_dpm_2, order=2),
    "DPM++ 2M": Sampler(k.sample_dpmpp_2m),
    "Euler a": Sampler(k.sample_euler_ancestral, noisy=True),
    "DPM2 a": Sampler(k.sample_dpm_2_ancestral, order=2, noisy=True),
    "DPM++ 2S a": Sampler(k.sample_dpmpp_2s_ancestral, order=2, noisy=True),
    "DPM++ SDE": Sampler(k.sample_dpmpp_sde, order=2, noisy=True),
    "DPM++ 2M SDE": Sampler(k.sample_dpmpp_2m_sde, noisy=True),
    "DPM++ 2M SDE Heun": Sampler(k.sample_dpmpp_2m_sde, noisy=True, options=(("solver_type", "heun"),)),
    "DPM++ 3M SDE": Sampler(k.sample_dpmpp_3m_sde, noisy=True),
}
"""Samplers that take the noise levels they are given."""


def main() -> None:
    """Prints the table, or with ``--json`` one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--calls", type=int, nargs="+", default=CALLS)
    parser.add_argument("--shifts", type=float, nargs="+", default=SHIFTS)
    parser.add_argument("--samplers", nargs="+", default=[*FIXED, *OWN_GRIDS])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in asked.samplers for row in rows_of(name, asked.shifts, asked.calls)]
    if asked.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        shown = {**row, "error_naive": math.nan if row["error_naive"] is None else row["error_naive"]}
        print("{sampler:18} {schedule:10} shift {shift:<4g} calls {calls:<3} {error:.4f} {error_naive:9.4f} {error_euler:.4f}"
              .format(**shown))  # fmt: skip


def rows_of(name: str, shifts: list[float] = SHIFTS, calls: list[int] = CALLS) -> Iterator[dict[str, Any]]:
    """The rows of one sampler."""
    bench = Bench()
    for schedule in SCHEDULES if name in FIXED else (AUTOMATIC,):
        for shift in shifts:
            for number in calls:
                yield {
                    "sampler": name,
                    "schedule": schedule,
                    "shift": shift,
                    "calls": number,
                    "error": bench.error(name, schedule, shift, number),
                    "error_naive": None if name in OWN_GRIDS else bench.error(name, schedule, shift, number, naive=True),
                    "error_euler": bench.error("Euler", schedule, shift, number, noisy=is_noisy(name)),
                }


def is_noisy(name: str) -> bool:
    """Whether a sampler is judged by its distribution."""
    return name in FIXED and FIXED[name].noisy


class Bench:
    """A flow model, a start, and the exact result."""

    def __init__(self) -> None:
        self.flow = AnalyticFlow.drawn(IMAGES, MODES, SPREADS)
        generator = torch.Generator().manual_seed(1)
        self.noise = torch.randn(IMAGES, 4, SIDE, SIDE, generator=generator, dtype=torch.float64)
        self.exact = self.flow.exact(self.noise)

    def error(
        self, name: str, schedule: str, shift: float, calls: int, naive: bool = False, noisy: bool | None = None
    ) -> float:
        """See the rows' description.

        :param noisy: judge by the distribution; as the sampler needs it, if not said
        """
        torch.manual_seed(2)
        result = self.naive(name, schedule, shift, calls) if naive else self.sample(name, schedule, shift, calls)
        return self.distance(result, is_noisy(name) if noisy is None else noisy)

    def distance(self, result: Tensor, noisy: bool) -> float:
        """How far a result is from the exact one, or its distribution."""
        if not result.isfinite().all():
            return math.inf
        return self.flow.distance(result) if noisy else float((result - self.exact).square().mean().sqrt())

    def sample(self, name: str, schedule: str, shift: float, calls: int) -> Tensor:
        """What the extension makes the WebUI do."""
        if name in OWN_GRIDS:
            return OWN_GRIDS[name](self, shift, calls)
        end = default_end(name, shift)
        sigmas = _levels(self._times(name, schedule, shift, calls, end))
        return self._call(FIXED[name], fitted(name, FIXED[name].function, end), ExplodingModel(self.flow), sigmas)

    def naive(self, name: str, schedule: str, shift: float, calls: int) -> Tensor:
        """``sigma = t``; logarithms of ``1 - t`` are kept finite by the cap."""
        times = [min(t, LATEST_TIME) for t in self._times(name, schedule, shift, calls, 0.0)]
        return self._call(FIXED[name], FIXED[name].function, TimeModel(self.flow), torch.tensor(times, dtype=torch.float64))

    def _times(self, name: str, schedule: str, shift: float, calls: int, end: float) -> list[float]:
        sampler = FIXED[name]
        steps = calls if sampler.order == 1 else (calls + 1) // 2
        chosen = flow_sampler(name).schedule if schedule == AUTOMATIC else schedule
        return flow_times(chosen, steps, shift, end)

    def _call(self, sampler: Sampler, function: Callable[..., Tensor], model: Any, sigmas: Tensor) -> Tensor:
        options = dict(sampler.options)
        if sampler.noisy:
            options["noise_sampler"] = _noise(self.noise, sigmas)
        return function(model, self.noise * sigmas[0], sigmas, disable=True, **options)


def _levels(times: list[float]) -> Tensor:
    return torch.tensor(times_to_sigmas(times, LATEST_TIME), dtype=torch.float64)


def _noise(x: Tensor, sigmas: Tensor) -> Callable[..., Tensor]:
    """Noise of overlapping intervals that fits together, as the WebUIs give it to the samplers that need it."""
    return k.BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max(), seed=BROWNIAN_SEED)


def _timesteps(bench: Bench, times: list[float], solver: Callable[..., Tensor]) -> Tensor:
    sigmas = _levels(times)
    return solver(ExplodingModel(bench.flow), bench.noise * (sigmas[0] ** 2 + 1).sqrt(), sigmas)


def host_grid(shift: float, calls: int) -> list[float]:
    """The times of A1111's timestep samplers: equal strides over the table, downwards from below its end."""
    places = [min(place + 1, 999) for place in range(0, 1000, 1000 // (calls + 1))][: calls + 1]
    return [shift_time((place + 1) / 1000, shift) for place in reversed(places)]


def our_grid(schedule: str, shift: float, calls: int) -> list[float]:
    """The times that the extension gives to them."""
    return [*flow_times(schedule, calls, shift)[:-1], shift_time(0.001, shift)]


def ddim(model: ExplodingModel, y: Tensor, sigmas: Tensor) -> Tensor:
    """DDIM without added noise is Euler's method."""
    return k.sample_euler(model, y, sigmas, disable=True)


def plms(model: ExplodingModel, y: Tensor, sigmas: Tensor) -> Tensor:
    """Adams and Bashforth on the noise prediction, as if all steps were of one length (arXiv 2202.09778)."""
    weights = {0: (1.0,), 1: (1.5, -0.5), 2: (23 / 12, -16 / 12, 5 / 12), 3: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}
    before: list[Tensor] = []
    for sigma, sigma_next in zip(sigmas, sigmas[1:]):
        eps = (y - model(y, sigma)) / sigma
        mixed = sum(weight * noise for weight, noise in zip(weights[len(before)], [eps, *before]))
        if not before:
            ahead = y + (sigma_next - sigma) * eps
            mixed = (eps + (ahead - model(ahead, sigma_next)) / sigma_next) / 2
        y, before = y + (sigma_next - sigma) * mixed, [eps, *before][:3]
    return y


def divided(name: str, function: Callable[..., Tensor]) -> Callable[[Bench, float, int], Tensor]:
    """A sampler that divides the way itself; the tolerance of DPM adaptive decides how many calls it makes."""

    def run(bench: Bench, shift: float, calls: int) -> Tensor:
        highest = time_to_sigma(LATEST_TIME)
        number = {"n": calls} if name == "DPM fast" else {}
        sample = fitted(name, function, default_end(name, shift))
        start, lowest = bench.noise * highest, time_to_sigma(shift_time(0.001, shift))
        return sample(ExplodingModel(bench.flow), start, sigma_min=lowest, sigma_max=highest, disable=True, **number)

    return run


OWN_GRIDS: dict[str, Callable[[Bench, float, int], Tensor]] = {
    "DDIM (host's grid)": lambda bench, shift, calls: _timesteps(bench, host_grid(shift, calls), ddim),
    "DDIM": lambda bench, shift, calls: _timesteps(bench, our_grid("Normal", shift, calls), ddim),
    "PLMS (host's grid)": lambda bench, shift, calls: _timesteps(bench, host_grid(shift, calls - 1), plms),
    "PLMS": lambda bench, shift, calls: _timesteps(bench, our_grid("Beta", shift, calls - 1), plms),
    "DPM fast": divided("DPM fast", k.sample_dpm_fast),
    "DPM adaptive": divided("DPM adaptive", k.sample_dpm_adaptive),
}
"""Samplers that make a grid of their own."""


if __name__ == "__main__":
    main()
