"""Flow matching: the same model in three coordinates, and schedules against ComfyUI's own numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from k_diffusion.external import DiscreteSchedule
from scipy import stats

from lib_sdfm.ops import flow, flow_schedules
from lib_sdfm.ops.spaces import eps_to_denoised, noise_to_denoised

RECORDED = json.loads((Path(__file__).parent.parent / "recorded" / "flow_schedules.json").read_text(encoding="utf8"))["sigmas"]
TIMES = st.floats(0.001, flow.LATEST_TIME)
SHIFTS = st.floats(0.1, 100)


def latents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 4, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2)]


@given(TIMES, SHIFTS)
def test_conversions_of_time_are_pairs(t: float, shift: float):
    assert flow.unshift_time(flow.shift_time(t, shift), shift) == pytest.approx(t, rel=1e-9)
    assert flow.sigma_to_time(flow.time_to_sigma(t)) == pytest.approx(t, rel=1e-9)
    assert flow.alpha_bar_to_time(flow.time_to_alpha_bar(t)) == pytest.approx(t, rel=1e-6)
    assert flow.shift_time(t, 1.0) == t
    assert flow.shift_time(1.0, shift) == pytest.approx(1.0)


@pytest.mark.parametrize("to, back", [
    (flow.velocity_to_denoised, flow.denoised_to_velocity), (flow.velocity_to_noise, flow.noise_to_velocity),
])  # fmt: skip
@pytest.mark.parametrize("t", [0.001, 0.3, 0.9999])
def test_conversions_of_predictions_are_pairs(to, back, t: float):
    x, velocity = latents()
    torch.testing.assert_close(back(to(velocity, x, t), x, t), velocity, rtol=0, atol=1e-9)


@pytest.mark.parametrize("to, back", [
    (flow.exploding_to_flow, flow.flow_to_exploding), (flow.preserving_to_flow, flow.flow_to_preserving),
])  # fmt: skip
@pytest.mark.parametrize("t", [0.001, 0.3, 0.9999])
def test_conversions_of_latents_are_pairs(to, back, t: float):
    x, _ = latents()
    torch.testing.assert_close(back(to(x, t), t), x, rtol=1e-12, atol=0)


@pytest.mark.parametrize("t", [0.001, 0.3, 0.9, 0.9999])
def test_the_model_says_the_same_in_all_coordinates(t: float):
    image, noise = latents()
    x, velocity = (1 - t) * image + t * noise, noise - image
    exploding, preserving = flow.flow_to_exploding(x, t), flow.flow_to_preserving(x, t)
    alpha_bar, sigma = flow.time_to_alpha_bar(t), flow.time_to_sigma(t)
    torch.testing.assert_close(exploding, image + sigma * noise)
    torch.testing.assert_close(preserving, alpha_bar**0.5 * image + (1 - alpha_bar) ** 0.5 * noise)
    predicted = flow.velocity_to_noise(velocity, x, t)
    torch.testing.assert_close(predicted, noise)
    torch.testing.assert_close(flow.velocity_to_denoised(velocity, x, t), image)
    torch.testing.assert_close(eps_to_denoised(predicted, preserving, alpha_bar), image)
    torch.testing.assert_close(noise_to_denoised(predicted, exploding, torch.tensor(sigma)), image)


@given(SHIFTS)
def test_a_table_ascends_to_the_cap(shift: float):
    table = flow.time_table(shift)
    assert table.dtype == torch.float64 and len(table) == 1000
    assert float(table[0]) == pytest.approx(flow.shift_time(0.001, shift))
    assert (table.diff() > 0).all() and float(table[-1]) == flow.LATEST_TIME
    alpha_bars = flow.time_to_alpha_bar(table)
    assert (((1 - alpha_bars) / alpha_bars).log().diff() > 0).all()


@given(SHIFTS, st.floats(0, 999))
def test_places_between_entries_are_what_k_diffusion_makes_of_them(shift: float, place: float):
    table = flow.time_table(shift)
    alpha_bars = flow.time_to_alpha_bar(table)
    theirs = DiscreteSchedule(((1 - alpha_bars) / alpha_bars) ** 0.5, quantize=False)
    sigma = theirs.t_to_sigma(torch.tensor([place]))
    time = float(flow.table_to_time(theirs.sigma_to_t(sigma), table))
    assert flow.time_to_sigma(time) == pytest.approx(float(sigma), rel=1e-5)


@pytest.mark.parametrize("shift", [0.0, -1.0, math.nan])
def test_a_shift_is_above_0(shift: float):
    with pytest.raises(ValueError, match="shift above 0"):
        flow.time_table(shift)


@pytest.mark.parametrize("name", ["normal", "simple", "sgm_uniform", "ddim_uniform", "beta"])
@pytest.mark.parametrize("case", RECORDED)
def test_schedules_are_comfyui_s(case: str, name: str):
    shift, steps = (float(part.split("=")[1]) for part in case.split())
    assert getattr(flow_schedules, name)(int(steps), shift) == pytest.approx(RECORDED[case][name], abs=1e-6, rel=0)


@pytest.mark.parametrize("a, b", [(0.6, 0.6), (1.0, 1.0), (2.0, 3.0), (0.3, 0.9), (5.0, 0.5)])
def test_quantiles_are_those_of_the_beta_distribution(a: float, b: float):
    for p in (0.0, 0.001, 0.2, 0.5, 0.77, 0.999, 1.0):
        assert flow_schedules.beta_quantile(p, a, b) == pytest.approx(stats.beta.ppf(p, a, b), abs=1e-10)


@given(
    st.sampled_from(list(flow_schedules.SCHEDULES)), st.integers(1, 300), st.floats(0.1, 100), st.sampled_from((0.0, 0.02, 0.1))
)
def test_every_schedule_has_its_steps_and_descends(name: str, steps: int, shift: float, end: float):
    times = flow_schedules.flow_times(name, steps, shift, end)
    assert len(times) == steps + 1 and times[-1] == 0.0 and 0 < times[0] <= 1
    assert all(before >= after for before, after in zip(times, times[1:]))
    if steps > 1:
        assert times[-2] >= end * 0.999
    if name != "DDIM":
        assert times[0] == pytest.approx(1.0)


@pytest.mark.parametrize("name", flow_schedules.SCHEDULES)
def test_an_end_below_the_schedule_s_own_changes_nothing(name: str):
    assert flow_schedules.flow_times(name, 10, 3.0, 1e-9) == flow_schedules.flow_times(name, 10, 3.0)


def test_karras_is_as_noisy_as_on_other_models():
    """Half way down the levels of an SDXL model lies at sigma 1.15, or t = 0.53; its first level stands for t = 1 here."""
    times = flow_schedules.karras(11, 1.0)
    low, high = (sigma ** (1 / 7) for sigma in flow_schedules.EPS_SIGMAS)
    middle = ((low + high) / 2) ** 7
    assert times[5] == pytest.approx(middle / (1 + middle), abs=0.04)
    assert flow_schedules.karras(11, 1.0, flow_schedules.Shape(rho=3.0))[5] > times[5]


@pytest.mark.parametrize("name", ["Karras", "Exponential", "Polyexponential", "KL Optimal", "Align Your Steps"])
@pytest.mark.parametrize("shift", [1.0, 3.0, 6.0])
def test_converted_schedules_end_as_clean_as_on_other_models(name: str, shift: float):
    times = flow_schedules.flow_times(name, 12, shift)
    assert times[0] == pytest.approx(1.0)
    assert times[-2] == pytest.approx(flow.sigma_to_time(flow_schedules.EPS_SIGMAS[0]), rel=0.01)


def test_noise_levels_are_capped():
    assert flow_schedules.times_to_sigmas([1.0, 0.5, 0.0], flow.LATEST_TIME) == pytest.approx([9999.0, 1.0, 0.0])


@pytest.mark.parametrize("shift", [0.1, 1.0, 12.0, 100.0])
@pytest.mark.parametrize("steps", [1, 2, 20, 150])
@pytest.mark.parametrize("schedule", flow_schedules.SCHEDULES)
def test_no_two_levels_are_equal(schedule: str, steps: int, shift: float):
    """The hosts take them as float32; solvers divide by their distances."""
    sigmas = flow_schedules.times_to_sigmas(flow_schedules.flow_times(schedule, steps, shift), flow.LATEST_TIME)
    levels = torch.tensor(sigmas, dtype=torch.float32)
    assert (levels.diff() < 0).all() and levels[0] <= flow.time_to_sigma(flow.LATEST_TIME) and levels[-1] == 0
