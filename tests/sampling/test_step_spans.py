"""How far steps go: against k-diffusion's samplers, step by step, and against what the WebUIs' own are known to do."""

from __future__ import annotations

import inspect
from typing import Any

import k_diffusion.sampling as k
import pytest
import torch
from torch import Tensor

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.sampling.sampler_names import require_spans
from lib_sdfm.sampling.samplers import SAMPLERS
from lib_sdfm.sampling.step_spans import Spans, StepSpan, StepSpans
from tests.support import noise_of, stable_diffusion_alphas

SIGMAS = k.get_sigmas_karras(9, 0.03, 14.6)
ALPHA_BARS = stable_diffusion_alphas().tolist()
DENOISED = 0.25
SPANS: dict[str, Spans] = {record.functions[0]: record.spans for record in SAMPLERS if record.spans is not None}
SCHEDULED = [name for name in SPANS if name.startswith("sample_") and name not in ("sample_dpm_fast", "sample_lcm")]
IN_K_DIFFUSION = [name for name in SPANS if hasattr(k, name)]


def spans(function: str, **arguments: Any) -> list[StepSpan]:
    return SPANS[function](arguments)


def run(function: str, **settings: Any) -> tuple[list[StepSpan], list[Tensor]]:
    """Steps as they are written down, and the latent before each of them and after the last, without added noise."""
    func, seen = getattr(k, function), []
    offered = {
        "sigmas": SIGMAS, "sigma_min": float(SIGMAS[-2]), "sigma_max": float(SIGMAS[0]), "n": 11,
        "noise_sampler": lambda *sigmas: torch.zeros(1, 4, 2, 2), "s_noise": 0.0, **settings,
    }  # fmt: skip
    wanted = inspect.signature(func).parameters
    given = inspect.signature(func).bind(
        lambda x, sigma, **extra: torch.full_like(x, DENOISED), noise_of(1, 1, 4, 2, 2) * 14.6, disable=True,
        callback=lambda info: seen.append(info["x"]), **{name: value for name, value in offered.items() if name in wanted},
    )  # fmt: skip
    given.apply_defaults()
    seen.append(func(*given.args, **given.kwargs))
    return SPANS[function](given.arguments), seen


@pytest.mark.parametrize("settings", [{}, {"eta": 0.0}, {"eta": 0.6}, {"s_churn": 3.0, "s_tmin": 0.1, "s_tmax": 9.0}], ids=str)
@pytest.mark.parametrize("function", IN_K_DIFFUSION)
def test_each_step_goes_as_far_as_it_is_written_down(function: str, settings: dict[str, float]):
    """With a constant prediction every order of step is ``D + ratio * (x - D)``."""
    known, latents = run(function, **settings)
    assert len(known) == len(latents) - 1
    for (start, end), before, after in zip(known, latents, latents[1:]):
        torch.testing.assert_close(
            (after - DENOISED) / (before - DENOISED), torch.full((1, 4, 2, 2), end / start), atol=1e-3, rtol=1e-3
        )


def test_churn_starts_higher():
    churned = spans("sample_euler", sigmas=SIGMAS, s_churn=100.0, s_tmin=0.1, s_tmax=9.0)
    factors = [start / float(sigma) for (start, _), sigma in zip(churned, SIGMAS)]
    assert factors == pytest.approx([2**0.5 if 0.1 <= sigma <= 9 else 1 for sigma in SIGMAS[:-1]])


def test_lcm_keeps_nothing_and_ddpm_is_ancestral_with_eta_1():
    assert [end for _, end in spans("sample_lcm", sigmas=SIGMAS)] == [0.0] * 9
    posterior, ancestral = spans("sample_ddpm", sigmas=SIGMAS), spans("sample_euler_ancestral", sigmas=SIGMAS, eta=1.0)
    assert [end for _, end in posterior] == pytest.approx([end for _, end in ancestral], abs=1e-6)


def test_timestep_samplers_follow_the_noise_table():
    table = ((1 - stable_diffusion_alphas().double()) / stable_diffusion_alphas().double()).sqrt().tolist()
    timesteps = torch.tensor([1, 334, 667, 999])
    expected = [(table[999], table[667]), (table[667], table[334]), (table[334], table[1])]
    for function in ("ddim", "plms"):
        known = spans(function, timesteps=timesteps, alpha_bars=ALPHA_BARS)
        assert torch.tensor(known).allclose(torch.tensor(expected), rtol=1e-4)
    down = spans("ddim", timesteps=timesteps, alpha_bars=ALPHA_BARS, eta=1.0)
    assert [end for _, end in down] == pytest.approx([end * end / start for start, end in expected], rel=1e-3)
    known = spans("unipc", timesteps=timesteps, alpha_bars=ALPHA_BARS)
    assert len(known) == 4 and known[0][0] == pytest.approx(table[999]) and known[-1][1] == pytest.approx(table[0], rel=1e-3)
    later = spans("unipc", timesteps=timesteps[:3], alpha_bars=ALPHA_BARS, is_img2img=True)
    assert later[0][0] == pytest.approx(table[667], rel=1e-4)


@pytest.mark.parametrize(("steps", "jumps"), [(19, 0), (20, 1), (35, 1), (36, 2), (50, 2)])
def test_restart_jumps_up_from_twenty_steps_on(steps: int, jumps: int):
    known = spans("restart_sampler", sigmas=k.get_sigmas_karras(steps, 0.03, 14.6))
    assert len(known) == steps and known[-1][1] == 0
    assert all(end < start for start, end in known)
    rises = [(end, start) for (_, end), (start, _) in zip(known, known[1:]) if start > end * 1.001]
    assert len(rises) == jumps
    assert all(low == pytest.approx(0.1, rel=0.6) and high == pytest.approx(2, rel=0.5) for low, high in rises)


@pytest.mark.parametrize("function", SCHEDULED)
def test_a_schedule_that_rises_has_ratios_above_1(function: str):
    rising = {"sigmas": torch.tensor([1.0, 2.0, 0.5]), "eta": 1.0, "s_churn": 0.0, "s_tmin": 0.0, "s_tmax": 99.0}
    start, end = spans(function, **rising)[0]
    assert end / start >= 1


@pytest.mark.parametrize(
    ("function", "sampler", "words"),
    [
        ("sample_dpm_adaptive", "DPM adaptive", ["DPM adaptive", "while it runs", "Euler a"]),
        ("ddim_cfgpp", "DDIM CFG++", ["DDIM CFG++", "itself", "lambda"]),
        ("sample_euler_cfgpp", "Euler CFG++", ["Euler CFG++", "itself"]),
        ("sample_something", "Something new", ["Something new", "are unknown", "DPM++ 2M"]),
    ],
)
def test_what_cannot_be_is_named(function: str, sampler: str, words: list[str]):
    with pytest.raises(UnsupportedError) as caught:
        require_spans(sampler, function)
    assert [word for word in words if word not in str(caught.value)] == []


class TestStepSpans:
    spans = StepSpans([StepSpan(10.0, 5.0), StepSpan(5.0, 0.0)], "Heun")

    def test_all_calls_of_a_step_have_its_ratio(self):
        assert [self.spans.ratio(index, sigma) for index, sigma in ((0, 10.0), (0, 5.0), (1, 5.0))] == [0.5, 0.5, 0.0]

    @pytest.mark.parametrize(("index", "sigma"), [(0, 8.9), (1, 10.0), (2, 0.1), (0, float("nan"))])
    def test_a_step_that_starts_elsewhere_is_an_error(self, index: int, sigma: float):
        with pytest.raises(UnsupportedError, match="Heun"):
            StepSpans([StepSpan(10.0, 5.0), StepSpan(5.0, 0.0)], "Heun").ratio(index, sigma)
