"""The CFG schedule and its interval."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError
from lib_sdfm.ops.schedules import SCHEDULES
from lib_sdfm.sampling.model_call import HostCounters, ModelCall
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.techniques.cfg_schedule import CfgSchedule, CfgScheduleSettings
from tests.hosts.fake_a1111 import Host, Processing, Sampler
from tests.hosts.jobs import samples
from tests.hosts.reference import Reference
from tests.techniques.reference import assert_same_picture, euler_samples, fresh_host

NAMES = tuple(SCHEDULES)
MULTIPLIER = 1 / 12.5


def scale_at(recipe: str = "sdfm", sigma: float = 2.0, index: int = 3, scale: float = 7.0, **more: Any) -> float:
    """The CFG scale that a schedule makes of ``scale``, in step ``index`` of 10."""
    host = {name: more.pop(name) for name in ("lagging", "job_steps", "job_cfg_scale") if name in more}
    step_more = {name: more.pop(name) for name in ("total", "cfg_unit") if name in more}
    counters = HostCounters(**{"pass_steps": 10, "job_steps": 10, "job_cfg_scale": 7.0, **host})
    step = ModelCall(**{"index": index, "total": 10, "sigma": sigma, "timestep": 600.0, "host": counters, **step_more})
    return CfgSchedule(CfgScheduleSettings(**more), recipe).guidance_scale(scale, step)


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(0, 9), st.floats(0, 30))
def test_it_is_the_schedule_at_the_step(name: str, index: int, scale: float):
    assert scale_at(schedule=name, index=index, scale=scale) == pytest.approx(SCHEDULES[name](scale, index / 10), abs=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if "Clamp" not in name])
def test_the_scales_of_a_run_are_in_proportion_to_the_samplers(name: str):
    """The sampler's own factor of CFG stays: a schedule of DDIM CFG++ is one of small scales."""
    for index in range(10):
        divided = scale_at(schedule=name, index=index, scale=7.0 * MULTIPLIER, cfg_unit=MULTIPLIER)
        assert divided == pytest.approx(scale_at(schedule=name, index=index) * MULTIPLIER, abs=1e-12)


def test_clamps_are_cfg_scales_before_the_sampler_multiplies_them():
    last = scale_at(schedule="Clamp-Linear (c=4.0)", index=9, scale=7.0 * MULTIPLIER, cfg_unit=MULTIPLIER)
    assert last == pytest.approx(4 * MULTIPLIER)
    outside = scale_at(schedule="Linear", sigma=9.0, high=8.0, scale=7.0 * MULTIPLIER, cfg_unit=MULTIPLIER)
    assert outside == MULTIPLIER  # CFG 1


@pytest.mark.parametrize("name", NAMES)
def test_recipe_original_ignores_what_the_sampler_multiplies(name: str):
    divided = scale_at("original", schedule=name, scale=7.0 * MULTIPLIER, cfg_unit=MULTIPLIER, lagging=2)
    assert divided == scale_at("original", schedule=name, lagging=2) != 0


@pytest.mark.parametrize(
    ("sigma", "scale"), [(1.49, 1), (1.5, 7), (2.0, 7), (5.0, 7), (5.01, 1), (0.0, 1), (14.6, 1), (1e4, 1)]
)
def test_the_interval_is_one_of_noise_levels_with_both_ends(sigma: float, scale: float):
    assert scale_at(sigma=sigma, low=1.5, high=5.0) == scale


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({"low": 9, "high": 3}, "cfg_schedule.low: 9.0"),
        ({"low": 2, "high": 5, "hires_high": 1}, "cfg_schedule.low: 2.0"),
        ({"hires_low": 6, "high": 5}, "cfg_schedule.hires_low: 6.0"),
    ],
)
def test_an_interval_whose_ends_are_swapped_is_refused(chosen: dict, name: str):
    with pytest.raises(SettingError) as caught:
        resolve_job(SCHEMA, [{"cfg_schedule": chosen}])
    assert caught.value.for_api().startswith(name)


def test_the_old_extension_swapped_them():
    resolve_job(SCHEMA, [{"recipe": "original", "cfg_schedule": {"low": 9, "high": 3}}])


def test_100_is_no_upper_end():
    assert scale_at(sigma=1e4, low=1.5, high=100.0) == 7
    assert scale_at(sigma=1e4, low=1.5, high=99.99) == 1
    assert scale_at(sigma=99.0, low=1.5, high=99.99) == 7


@pytest.mark.parametrize(("sigma", "scale"), [(0.27, 1), (0.28, 7), (5.42, 7), (5.43, 1)])
def test_interval_is_the_papers(sigma: float, scale: float):
    assert scale_at(sigma=sigma, schedule="Interval") == scale
    assert scale_at(sigma=sigma, schedule="Interval", low=0.3, high=5.0) == (1 if sigma in (0.28, 5.42) else scale)


@pytest.mark.parametrize("schedule", ["Linear", "Cosine"])
def test_the_schedule_goes_on_inside_of_the_interval(schedule: str):
    assert scale_at(schedule=schedule, index=8, low=1.5, high=5.0) == pytest.approx(SCHEDULES[schedule](7.0, 0.8))


def test_recipe_original_takes_a_formula_for_the_noise_and_the_host_for_the_step():
    levels = {"low": 5.0, "high": 30.0, "schedule": "Linear"}
    # of its curve over 10 steps, 80 57 39 26 16 9 4.7 ..., the levels 39 (nearest to 30: 26) to 4.7 are inside
    curve = [(80 ** (1 / 3) + i / 9 * (0.002 ** (1 / 3) - 80 ** (1 / 3))) ** 3 for i in range(10)]
    ends = [min(curve, key=lambda level: abs(level - end)) for end in (5.0, 30.0)]
    wanted = [14 * (1 - i / 10) if ends[0] <= curve[i] <= ends[1] else 1.0 for i in range(10)]
    got = [scale_at("original", lagging=i, index=99, sigma=-1.0, scale=99.0, **levels) for i in range(10)]
    assert got == pytest.approx(wanted)
    assert 1.0 in got and max(got) > 2


def test_oddities_of_recipe_original():
    assert [scale_at("original", lagging=i, schedule="Interval") for i in range(8)] == [1, 7, 7, 7, 7, 7, 1, 1]
    assert {scale_at("original", lagging=i, low=5.0, high=6.0) for i in range(10)} == {7.0}  # Constant ignores the interval
    assert scale_at("original", schedule="Linear", lagging=0, job_steps=1) == 14.0


@pytest.mark.parametrize("recipe", ["sdfm", "original"])
@pytest.mark.parametrize("name", NAMES)
def test_one_step_is_enough(name: str, recipe: str):
    assert 0 <= scale_at(recipe, schedule=name, index=0, total=1, job_steps=1, lagging=0) <= 14


def test_samplers_that_make_more_steps_than_were_asked_for_stay_at_the_end_of_the_schedule():
    """DPM adaptive decides while it runs: 14 steps of 10 here."""
    for name in NAMES:
        at_the_end = SCHEDULES[name](7.0, 1.0)
        assert scale_at(schedule=name, index=14, total=None) == pytest.approx(at_the_end, abs=1e-9)
        assert isinstance(scale_at("original", schedule=name, lagging=14), float)


def test_what_is_plain_cfg_is_inert():
    plain, other = CfgScheduleSettings(), CfgScheduleSettings(low=0.1)
    assert "plain CFG" in CfgSchedule(plain, "sdfm").inert(False)
    assert CfgSchedule(other, "sdfm").inert(False) is None
    assert CfgSchedule(plain, "original").inert(False) is None  # it takes DDIM CFG++'s multiplier away


@pytest.fixture
def host() -> Host:
    return fresh_host()


def scheduled(schedule: str, low: float, high: float, steps: int) -> Any:
    def scale(call: int, sigma: float) -> float:
        return SCHEDULES[schedule](7.0, call / steps) if low <= sigma <= high else 1.0

    def model(p: Processing) -> Reference:
        return Reference(p.sd_model.model.diffusion_model, p.c, p.uc, cfg=scale, pag=lambda *_: 0.0)

    return model


@pytest.mark.parametrize("schedule", ["Cosine", "Inverse-Linear", "PCS (s=0.1)"])
def test_pictures_are_those_of_plain_torch(host: Host, schedule: str):
    request = {"cfg_schedule": {"schedule": schedule, "low": 0.5, "high": 10.0}}
    wanted = euler_samples(host, scheduled(schedule, 0.5, 10.0, 5), steps=5)
    got = samples(host, request, steps=5)
    assert_same_picture(got, wanted)
    assert (got - samples(host, steps=5)).std() > 0.02


def test_an_end_that_is_the_sigma_of_a_step_includes_that_step(host: Host):
    sigma = float(Sampler(host, "Euler").get_sigmas(5)[2])
    wanted = euler_samples(host, scheduled("Constant", sigma - 1e-3, 1e9, 5), steps=5)
    assert_same_picture(samples(host, {"cfg_schedule": {"low": round(sigma - 0.005, 2)}}, steps=5), wanted)


@pytest.mark.parametrize("sampler_name", ["Euler", "DDIM", "DDIM CFG++"])
def test_neutral_settings_are_bit_equal_to_none(host: Host, sampler_name: str):
    request = {"cfg_schedule": {}}
    assert torch.equal(samples(host, request, sampler_name=sampler_name), samples(host, sampler_name=sampler_name))
