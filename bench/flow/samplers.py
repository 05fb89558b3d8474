"""How well samplers do with a flow model, beside ``sigma = t`` for all of them: ``python -m bench.flow.samplers --json``.

Each row is one sampler with one schedule, shift and number of model calls. ``error`` is how far the result is from the exact
one (root mean square; the latents' standard deviation is 1); for stochastic samplers how far its distribution is from the
exact one (Wasserstein 2; 0.066 is what as many exact samples give). ``error_naive`` is the same with ``sigma = t``, which is
ComfyUI's way without its rewritten samplers (none for samplers with a grid of their own: they need a noise table), and
``error_euler`` Euler's with the same schedule.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.flow import host_samplers as others
from bench.flow.analytic import AnalyticFlow, ExplodingModel, TimeModel
from bench.flow.grids import NOISY_GRIDS, OWN_GRIDS, levels_of
from bench.flow.libraries import sampling as k
from bench.flow.table import refreshed
from lib_sdfm.hosts.named_samplers import NAMED_SAMPLERS
from lib_sdfm.ops.flow import LATEST_TIME
from lib_sdfm.ops.flow_schedules import flow_times
from lib_sdfm.sampling.flow import AUTOMATIC, default_end, fitted, flow_sampler

CALLS, SHIFTS, SCHEDULES = (10, 20, 40), (1.0, 3.0, 6.0), (AUTOMATIC, "Normal", "Beta")
IMAGES, SIDE, MODES, SPREADS = 2, 32, 3, (0.1, 0.6)
BROWNIAN_SEED = 5
STRAIGHT_CFGPP = ("Euler CFG++", "DPM++ 2M CFG++", "RES Multistep CFG++", "Gradient Estimation CFG++")
"""CFG++ samplers that add no noise."""
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Sampler:
    """How a sampler of the WebUIs is called.

    :param function: k-diffusion's
    :param order: model calls per step; the last step takes one
    :param naive_order: the same as the host runs it, where that differs; the last steps take one call less each
    :param noisy: whether its result has to be judged by its distribution
    :param options: further arguments
    """

    function: Callable[..., Tensor]
    order: int = 1
    noisy: bool = False
    naive_order: int | None = None
    options: tuple[tuple[str, Any], ...] = ()


def _cfgpp(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A CFG++ sampler of a model whose prediction without prompt is the same."""

    def sample(model: Any, x: Tensor, sigmas: Tensor, **options: Any) -> Tensor:
        return function(Unguided(model), x, sigmas, **options)

    return sample


class Unguided:
    """A model that tells its own prediction as the one without prompt."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.last_uncond: Tensor

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.last_uncond = self._model(x, sigma)
        return self.last_uncond


FIXED: dict[str, Sampler] = {
    "Euler": Sampler(k.sample_euler),
    "LMS": Sampler(k.sample_lms),
    "Heun": Sampler(k.sample_heun, order=2),
    "DPM2": Sampler(k.sample_dpm_2, order=2),
    "DPM++ 2M": Sampler(k.sample_dpmpp_2m),
    "HeunPP2": Sampler(others.sample_heunpp2, order=2, naive_order=3),
    "IPNDM": Sampler(others.sample_ipndm),
    "IPNDM_V": Sampler(others.sample_ipndm_v),
    "DEIS": Sampler(others.sample_deis),
    **{named.name: Sampler(_cfgpp(named.sample)) for named in NAMED_SAMPLERS if named.name in STRAIGHT_CFGPP},
    "Euler a": Sampler(k.sample_euler_ancestral, noisy=True),
    "DDPM": Sampler(others.sample_ddpm, noisy=True),
    "DPM2 a": Sampler(k.sample_dpm_2_ancestral, order=2, noisy=True),
    "Restart": Sampler(others.sample_restart, order=2, noisy=True),
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
    parser.add_argument("--rows", type=Path, help="a file that --json has printed, instead of measuring")
    parser.add_argument("--document", action="store_true", help="put the table into docs/benchmarks.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.rows is not None:
        rows = json.loads(asked.rows.read_text(encoding="utf8"))["rows"]
    else:
        rows = [row for name in asked.samplers for row in rows_of(name, asked.shifts, asked.calls)]
    if asked.document:
        DOCUMENT.write_text(refreshed(DOCUMENT.read_text(encoding="utf8"), rows, is_noisy), encoding="utf8")
        return
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
                    "error_euler": euler_error(schedule, shift, number, is_noisy(name)),
                }


@functools.cache
def euler_error(schedule: str, shift: float, calls: int, noisy: bool) -> float:
    """Euler's error, by the distribution if ``noisy``."""
    return Bench().error("Euler", schedule, shift, calls, noisy=noisy)


def is_noisy(name: str) -> bool:
    """Return True if a sampler is judged by its distribution."""
    return name in NOISY_GRIDS or (name in FIXED and FIXED[name].noisy)


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
        """Return the result as the WebUI computes it with the extension."""
        if name in OWN_GRIDS:
            return OWN_GRIDS[name](self, shift, calls)
        end = default_end(name, shift)
        sigmas = levels_of(self._times(name, schedule, shift, calls, end))
        return self._call(FIXED[name], fitted(name, FIXED[name].function, end), ExplodingModel(self.flow), sigmas)

    def naive(self, name: str, schedule: str, shift: float, calls: int) -> Tensor:
        """``sigma = t``; logarithms of ``1 - t`` are kept finite by the cap."""
        order = FIXED[name].naive_order
        times = [min(t, LATEST_TIME) for t in self._times(name, schedule, shift, calls, 0.0, order)]
        return self._call(FIXED[name], FIXED[name].function, TimeModel(self.flow), torch.tensor(times, dtype=torch.float64))

    def _times(self, name: str, schedule: str, shift: float, calls: int, end: float, order: int | None = None) -> list[float]:
        order = order or FIXED[name].order
        steps = (calls + order * (order - 1) // 2) // order
        chosen = flow_sampler(name).schedule if schedule == AUTOMATIC else schedule
        return flow_times(chosen, steps, shift, end)

    def _call(self, sampler: Sampler, function: Callable[..., Tensor], model: Any, sigmas: Tensor) -> Tensor:
        options = dict(sampler.options)
        if sampler.noisy and "noise_sampler" in inspect.signature(function).parameters:
            options["noise_sampler"] = _noise(self.noise, sigmas)
        return function(model, self.noise * sigmas[0], sigmas=sigmas, disable=True, **options)


def _noise(x: Tensor, sigmas: Tensor) -> Callable[..., Tensor]:
    """Noise of overlapping intervals that fits together, as the WebUIs give it to the samplers that need it."""
    return k.BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max(), seed=BROWNIAN_SEED)


if __name__ == "__main__":
    main()
