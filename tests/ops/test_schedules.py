"""CFG schedules and the noise curve that incantations took for the sampler's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.ops.schedules import CONSTANT, INTERVAL, SCHEDULES, edm_noise_level, nearest_edm_noise_level

scales, times, steps_ = st.floats(0, 30), st.floats(0, 1), st.integers(1, 150)
NAMES = tuple(SCHEDULES)
SAME_MEAN = (CONSTANT, INTERVAL, "Linear", "Inverse-Linear", "Cosine", "Sine")


@pytest.mark.parametrize("name", SAME_MEAN)
def test_the_mean_over_the_run_is_the_scale(name: str):
    middles = (np.arange(10000) + 0.5) / 10000
    assert np.mean([SCHEDULES[name](7.0, time) for time in middles]) == pytest.approx(7.0, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "Constant": (7, 7, 7),
        "Interval": (7, 7, 7),
        "Linear": (14, 7, 0),
        "Inverse-Linear": (0, 7, 14),
        "Cosine": (14, 7, 0),
        "Sine": (0, 7, 14),
        "Clamp-Linear (c=1.0)": (14, 7, 1),
        "Clamp-Linear (c=2.0)": (14, 7, 2),
        "Clamp-Linear (c=4.0)": (14, 7, 4),
        "Clamp-Cosine (c=1.0)": (14, 7, 1),
        "Clamp-Cosine (c=2.0)": (14, 7, 2),
        "Clamp-Cosine (c=4.0)": (14, 7, 4),
        "PCS (s=0.01)": (7, 3.5 * (1 - math.cos(math.pi * 0.5**0.01)), 0),
        "PCS (s=0.1)": (7, 3.5 * (1 - math.cos(math.pi * 0.5**0.1)), 0),
        "PCS (s=1.0)": (7, 3.5, 0),
        "PCS (s=2.0)": (7, 3.5 * (1 - math.cos(math.pi / 4)), 0),
        "PCS (s=4.0)": (7, 3.5 * (1 - math.cos(math.pi / 16)), 0),
    }.items(),
)
def test_beginning_middle_and_end(name: str, values: tuple[float, float, float]):
    assert [SCHEDULES[name](7.0, time) for time in (0.0, 0.5, 1.0)] == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(scales, times)
def test_scales_are_never_negative_and_stay_in_proportion(name: str, scale: float, time: float):
    value = SCHEDULES[name](scale, time)
    assert 0 <= value <= max(2 * scale, 4) + 1e-9
    if "Clamp" not in name:
        assert SCHEDULES[name](2 * scale, time) == pytest.approx(2 * value, abs=1e-12)


@given(scales, times, st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from(["Linear", "Cosine"]))
def test_a_clamp_is_its_schedule_or_the_least(scale: float, time: float, least: float, name: str):
    assert SCHEDULES[f"Clamp-{name} (c={least})"](scale, time) == max(least, SCHEDULES[name](scale, time))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("Inverse-Linear", "Sine")])
def test_all_but_two_schedules_fall(name: str):
    values = [SCHEDULES[name](7.0, i / 50) for i in range(51)]
    assert values == sorted(values, reverse=True)


@given(st.integers(2, 150))
def test_the_noise_curve_is_edms(steps: int):
    levels = [edm_noise_level(step, steps) for step in range(steps)]
    wanted = np.linspace(80 ** (1 / 3), 0.002 ** (1 / 3), steps) ** 3
    assert levels == pytest.approx(wanted)
    assert edm_noise_level(steps, steps) == edm_noise_level(steps + 7, steps) == 0.0


@given(steps_, st.floats(0, 100))
def test_the_nearest_level_is_on_the_curve_and_none_is_nearer(steps: int, level: float):
    nearest = nearest_edm_noise_level(level, steps)
    curve = [edm_noise_level(step, steps) for step in range(steps + 1)]
    assert nearest in curve
    if 0.002 < level < 80:
        assert abs(nearest - level) == min(abs(known - level) for known in curve[:-1])


@given(steps_)
def test_the_ends_of_an_interval_that_is_everything_take_in_the_whole_curve(steps: int):
    low, high = nearest_edm_noise_level(0.0, steps), nearest_edm_noise_level(100.0, steps)
    assert all(low <= edm_noise_level(step, steps) <= high for step in range(steps + 2))
