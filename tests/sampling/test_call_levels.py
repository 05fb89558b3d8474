"""At which levels samplers call the model: as the table says, and as a recording denoiser hears it from the real functions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import k_diffusion.sampling as k
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.flow import host_samplers
from lib_sdfm.ops import cfgpp_samplers
from lib_sdfm.sampling.sampler_record import AFTER_FIRST_CALL, ONE_CALL_AHEAD, SamplerRecord
from lib_sdfm.sampling.samplers import SAMPLERS
from tests.hosts import fake_a1111, fake_forge, fake_neo
from tests.support import noise_of, stable_diffusion_alphas

ALPHAS = stable_diffusion_alphas()
TABLE = ((1 - ALPHAS) / ALPHAS).sqrt()
SCHEDULES = {"Karras": k.get_sigmas_karras, "Exponential": k.get_sigmas_exponential}
STEPS = (1, 2, 3, 10, 20, 40)
PLACES = (fake_forge, fake_a1111, host_samplers, cfgpp_samplers, k, fake_neo)
RENAMED = {"restart_sampler": "sample_restart"}
COMPARED = [record for record in SAMPLERS if record.calls is not None]


def function_of(record: SamplerRecord) -> Callable[..., Tensor]:
    """The sampler's function: k-diffusion's, ours, or a stand-in for the WebUI's."""
    name = RENAMED.get(record.functions[0], record.functions[0])
    return next(getattr(place, name) for place in PLACES if hasattr(place, name))


class Recorder:
    """A denoiser that predicts next to nothing, and writes down its calls and the sampler's callbacks in their order."""

    def __init__(self) -> None:
        self.inner_model = SimpleNamespace(inner_model=SimpleNamespace(alphas_cumprod=ALPHAS))
        self.need_last_noise_uncond, self.cond_scale_miltiplier = False, 1.0
        self.events: list[float | None] = []

    def __call__(self, x: Tensor, level: Tensor, **extra_args: Any) -> Tensor:
        self.events.append(float(level.max()))
        self.last_uncond = self.last_noise_uncond = x * 0.1
        return x * 0.2

    def callback(self, info: dict[str, Any]) -> None:
        self.events.append(None)

    @property
    def levels(self) -> list[float]:
        return [level for level in self.events if level is not None]

    def steps(self, callback: str) -> list[int]:
        """The step of each call, told by the callbacks alone."""
        if callback == ONE_CALL_AHEAD:
            return list(range(len(self.levels)))
        calls_before = [sum(e is not None for e in self.events[:i]) for i, event in enumerate(self.events) if event is None]
        if callback == AFTER_FIRST_CALL:
            return [sum(first <= number for first in calls_before) - 1 for number in range(1, len(self.levels) + 1)]
        return [sum(last < number for last in calls_before) for number in range(1, len(self.levels) + 1)]


def run(record: SamplerRecord, **offered: Any) -> tuple[Recorder, list[tuple[float, ...]]]:
    """Return the calls that the sampler's function makes with arguments, and those by the table."""
    function, recorder, x = function_of(record), Recorder(), noise_of(1, 1, 4, 2, 2)
    offered |= {"noise_sampler": lambda *levels: torch.zeros_like(x), "extra_args": {}}
    wanted = inspect.signature(function).parameters
    told = {name: value for name, value in offered.items() if name in wanted}
    given = inspect.signature(function).bind(recorder, x, disable=True, callback=recorder.callback, **told)
    given.apply_defaults()
    with torch.no_grad(), suppress(UnboundLocalError):  # k-diffusion's DPM++ SDE samplers end so after a single step
        function(*given.args, **given.kwargs)
    return recorder, record.calls(given.arguments)


def runs_at_all(record: SamplerRecord, arguments: dict[str, Any]) -> bool:
    """DPM fast goes nowhere between a noise level and itself: an error of k-diffusion's."""
    return record.functions[0] != "sample_dpm_fast" or arguments["sigma_min"] < arguments["sigma_max"]


def assert_as_recorded(record: SamplerRecord, recorder: Recorder, calls: list[tuple[float, ...]]) -> None:
    levels = [level for step in calls for level in step]
    rounded = record.callback == ONE_CALL_AHEAD  # the stand-in for UniPC
    assert recorder.levels == pytest.approx(levels, rel=1e-4, abs=0.501 if rounded else 0)
    if None in recorder.events:  # stand-ins without callbacks tell no steps
        assert recorder.steps(record.callback) == [step for step, made in enumerate(calls) for _ in made]


def arguments_of(record: SamplerRecord, steps: int, part: float, eta: float = 1.0, schedule: str = "Karras") -> dict[str, Any]:
    """Return the arguments that a WebUI gives to the sampler's function in the last ``part`` of a schedule, or in all of it."""
    kept = max(int(part * steps), 1)
    if record.in_timesteps:
        timesteps = torch.clip(torch.arange(0, 1000, 1000 // steps) + 1, 0, 999)
        return {"timesteps": timesteps if part == 1 else timesteps[:kept], "eta": eta, "is_img2img": part != 1}
    sigmas = SCHEDULES[schedule](steps, float(TABLE[0]), float(TABLE[-1]))[-kept - 1 :]
    ends = (TABLE[0], TABLE[-1]) if part == 1 else (sigmas[-2], sigmas[0])
    return {"sigmas": sigmas, "n": len(sigmas) - 1, "eta": eta, "sigma_min": float(ends[0]), "sigma_max": float(ends[1])}


@pytest.mark.parametrize("part", [1, 0.75, 0.3], ids=["txt2img", "img2img", "hires"])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("record", COMPARED, ids=lambda record: record.name)
def test_levels_and_steps_are_those_that_the_function_makes(record: SamplerRecord, steps: int, part: float):
    arguments = arguments_of(record, steps, part)
    if runs_at_all(record, arguments):
        assert_as_recorded(record, *run(record, **arguments))


@pytest.mark.parametrize("record", COMPARED, ids=lambda record: record.name)
@given(st.integers(1, 25), st.sampled_from([1, 0.8, 0.5]), st.floats(0, 1), st.sampled_from(list(SCHEDULES)))
def test_with_any_eta_and_schedule(record: SamplerRecord, steps: int, part: float, eta: float, schedule: str):
    arguments = arguments_of(record, steps, part, eta, schedule)
    if runs_at_all(record, arguments):
        assert_as_recorded(record, *run(record, **arguments))


CHURNED = [record for record in COMPARED if record.name in ("Euler", "Heun", "DPM2")]


@pytest.mark.parametrize("record", CHURNED, ids=lambda record: record.name)
@given(st.floats(0, 50), st.floats(0, 1), st.floats(1, 20))
def test_noise_that_is_added_before_a_step_raises_its_level(record: SamplerRecord, churn: float, low: float, high: float):
    churned = {"s_churn": churn, "s_tmin": low, "s_tmax": high}
    assert_as_recorded(record, *run(record, **arguments_of(record, 8, 1), **churned))


@pytest.mark.parametrize("calls", range(1, 13))
def test_dpm_fast_makes_as_many_calls_as_it_was_given(calls: int):
    record = next(record for record in SAMPLERS if record.name == "DPM fast")
    made = record.calls({"n": calls, "eta": 0.0, "sigma_min": 0.1, "sigma_max": 10.0})
    assert sum(map(len, made)) == calls and len(made) == calls // 3 + 1
    assert made[0] == pytest.approx([10 * 0.01 ** (i / len(made[0]) / len(made)) for i in range(len(made[0]))])


def test_a_second_order_step_that_ends_at_0_makes_one_call():
    heun = next(record for record in SAMPLERS if record.name == "Heun")
    for sigmas, calls in (([9, 3, 1, 0], [2, 2, 1]), ([9, 3, 1], [2, 2]), ([9, 0], [1])):
        assert [len(made) for made in heun.calls({"sigmas": torch.tensor(sigmas)})] == calls


def test_unipc_s_grid_is_cut_off_where_a1111_cuts_it():
    """A timestep of 665.99994 counts as 665 there."""
    unipc = next(record for record in SAMPLERS if record.name == "UniPC")
    times = (torch.linspace(1.0, 0.001, 4) - 0.001) * 1000
    assert [level for (level,) in unipc.calls({"timesteps": torch.arange(3)})] == times[:-1].tolist()
    assert [math.floor(level) for (level,) in unipc.calls({"timesteps": torch.arange(3)})] == [999, 666, 333]
