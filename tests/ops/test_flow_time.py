"""Samplers run in a flow model's time: against the same in noise levels, and what callbacks see."""

from __future__ import annotations

import inspect

import k_diffusion.sampling as k
import pytest
import torch

from bench.flow.analytic import AnalyticFlow, ExplodingModel, TimeModel
from lib_sdfm.ops.flow_schedules import flow_times, times_to_sigmas
from lib_sdfm.ops.flow_time import from_level, heun_weighted, in_time, two_calls

FLOW = AnalyticFlow.drawn(2, 3, (0.3, 0.5))
SIGMAS = torch.tensor(times_to_sigmas(flow_times("Normal", 8, 3.0), 0.9999), dtype=torch.float64)
START = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * SIGMAS[0]


class Model(ExplodingModel):
    inner_model = "inner"

    def __init__(self) -> None:
        super().__init__(FLOW)
        self.levels: list[float] = []

    def __call__(self, y, sigma, **extra):
        self.levels.append(float(sigma[0]))
        self.extra = extra
        return super().__call__(y, sigma)


def test_euler_is_the_same_and_its_callback_sees_the_same():
    seen, models = ([], []), (Model(), Model())
    results = [
        func(model, START, SIGMAS, extra_args={"cond": 1}, callback=infos.append, disable=True)
        for func, model, infos in zip((k.sample_euler, in_time(k.sample_euler)), models, seen)
    ]
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)
    assert models[0].levels == pytest.approx(models[1].levels) and models[1].extra == {"cond": 1}
    for plain, timed in zip(*seen):
        assert plain["i"] == timed["i"]
        for name in ("x", "sigma", "sigma_hat", "denoised"):
            torch.testing.assert_close(timed[name], plain[name], rtol=1e-6, atol=1e-10)


def test_heun_s_first_step_is_no_longer_than_the_others():
    def error(func) -> float:
        result = func(ExplodingModel(FLOW), START, SIGMAS, disable=True)
        return float((result - FLOW.exact(START / SIGMAS[0])).abs().mean())

    assert error(in_time(k.sample_heun)) < error(k.sample_heun) / 3


def test_a_schedule_that_ends_above_0_ends_in_the_same_latent():
    plain, timed = (func(Model(), START, SIGMAS[:-1], disable=True) for func in (k.sample_euler, in_time(k.sample_euler)))
    torch.testing.assert_close(timed, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("func", [k.sample_heun, k.sample_lms, k.sample_dpm_fast])
def test_the_signature_stays(func):
    for changed in (in_time(func), from_level(func, 20.0, 0.1)):
        assert inspect.signature(changed) == inspect.signature(func)


def test_samplers_that_divide_the_way_start_below():
    model = Model()
    ends = {"sigma_min": 0.001, "sigma_max": 9999.0}
    from_level(k.sample_dpm_fast, 20.0, 0.02)(model, START, **ends, n=12, extra_args={"cond": 1}, disable=True)
    assert len(model.levels) == 12 and model.levels[:2] == pytest.approx([9999.0, 20.0])
    assert min(model.levels) > 0.02 and model.extra == {"cond": 1}


@pytest.mark.parametrize("start", [10.0, 0.01])
def test_below_that_they_divide_all_of_it(start: float):
    plain, changed = Model(), Model()
    ends = {"sigma_min": 0.001, "sigma_max": start, "n": 5, "disable": True}
    k.sample_dpm_fast(plain, START, **{**ends, "sigma_min": min(0.02, start)})
    from_level(k.sample_dpm_fast, 20.0, 0.02)(changed, START, **ends)
    assert changed.levels == plain.levels


def test_what_a_model_has_shows_through():
    def reads(model, x, sigmas, callback):
        assert model.inner_model == "inner"
        return x

    in_time(reads)(Model(), START, SIGMAS[:2])


def test_a_sampler_that_makes_a_new_grid_of_the_given_one_starts_below_too():
    model, given = Model(), []

    def restarts(model, x, sigmas, disable):
        given.extend(sigmas.tolist())
        return k.sample_euler(model, x, sigmas, disable=disable)

    result = from_level(restarts, 20.0, 0.02)(model, START, sigmas=SIGMAS, disable=True)
    assert model.levels[0] == pytest.approx(9999) and given[0] == 20.0 and given[1:] == [s for s in SIGMAS.tolist() if s < 20]
    assert float((result - FLOW.exact(START / SIGMAS[0])).abs().mean()) < 0.3
    assert torch.equal(
        from_level(restarts, 1e6, 0.02)(Model(), START, sigmas=SIGMAS, disable=True), restarts(Model(), START, SIGMAS, True)
    )


def test_heun_weighted_is_of_second_order_and_calls_back_once_a_step():
    def error(steps: int) -> float:
        levels = torch.linspace(0.9, 0.0, steps + 1, dtype=torch.float64)  # where the slope is smooth
        model, seen = TimeModel(FLOW), []
        x = k.sample_heun(model, START / SIGMAS[0], torch.linspace(0.9999, 0.9, 400, dtype=torch.float64), disable=True)
        result = heun_weighted(model, x, levels, extra_args={"cond": 1}, callback=seen.append)
        assert [info["i"] for info in seen] == list(range(steps))
        return float((result - FLOW.exact(START / SIGMAS[0])).abs().mean())

    assert error(100) / error(200) > 3.4


def test_a_function_in_another_s_place_keeps_its_name_and_signature():
    placed = in_time(two_calls(k.sample_heun, heun_weighted))
    assert placed.__name__ == "sample_heun" and placed.second_order
    assert inspect.signature(placed) == inspect.signature(k.sample_heun)
