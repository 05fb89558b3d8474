"""APG, against the paper's listing as others run it, and by its properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib_sdfm.ops.projection import cap_norm, inner_product, project
from lib_sdfm.sampling.memory import PassMemory
from tests.hosts.jobs import HOSTS, samples
from tests.support import noise_of
from tests.techniques.recorded_guidance import Case, assert_recorded, call, prediction, recorded, technique

X, Y = noise_of(1, 2, 4, 9, 6).double(), noise_of(2, 2, 4, 9, 6).double()


@pytest.mark.parametrize("case", recorded("apg-"), ids=lambda case: case.id)
def test_it_is_the_papers(case: Case):
    params, memory = case.params, PassMemory()
    apg = technique("apg", **{name: params[name] for name in ("eta", "norm_threshold", "momentum")})
    for number in range(params.get("calls", 1)):
        which = str(number) if "calls" in params else ""
        told = prediction(case.inputs[f"cond{which}"], case.inputs[f"uncond{which}"], params["scale"])
        got = apg.combine(told, call(index=number, memory=memory))
        assert_recorded(got, case.outputs[f"call{number}" if which else "result"])


def test_two_calls_of_a_step_have_the_momentum_of_one():
    apg, once, twice = technique("apg"), PassMemory(), PassMemory()
    steps = [prediction(noise_of(seed, 1, 4, 8, 8), noise_of(seed + 9, 1, 4, 8, 8), 7.0) for seed in (1, 2, 3)]
    for index, told in enumerate(steps):
        wanted = apg.combine(told, call(index=index, memory=once))
        for _ in range(2):
            assert torch.equal(apg.combine(told, call(index=index, memory=twice)), wanted)


@given(st.floats(-3, 3).filter(lambda a: a == 0 or abs(a) > 1e-3), st.floats(0, 1))
def test_a_projection_scales_what_is_parallel_and_keeps_the_rest(along: float, kept: float):
    orthogonal = project(X, Y, 0.0)
    assert inner_product(orthogonal, Y).abs().max() < 1e-10
    torch.testing.assert_close(project(orthogonal + Y * along, Y, kept), orthogonal + Y * (along * kept))
    assert project(X, Y, 1.0) is X and torch.equal(project(X, Y * 0, kept), X)


@given(st.floats(0.1, 100))
def test_a_norm_is_capped_and_never_raised(threshold: float):
    norms = inner_product(X, X).sqrt()
    got = inner_product(cap_norm(X, threshold), cap_norm(X, threshold)).sqrt()
    torch.testing.assert_close(got, norms.clamp(max=threshold))
    assert torch.equal(cap_norm(X * 0, threshold), X * 0) and cap_norm(X, 0.0) is X


NEUTRAL = {"eta": 1, "norm_threshold": 0, "momentum": 0}
ALMOST = {"eta": 1, "norm_threshold": 1000, "momentum": 0}
"""Takes part, and nothing is above its threshold."""
EACH_HOST = pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)


@EACH_HOST
def test_neutral_settings_are_plain_cfg(make):
    host = make()
    assert torch.equal(samples(host, {"apg": NEUTRAL}), samples(host))
    torch.testing.assert_close(samples(host, {"apg": ALMOST}), samples(host), rtol=1e-3, atol=1e-2)


@EACH_HOST
@pytest.mark.parametrize("job", [{"sampler_name": "Euler"}, {"sampler_name": "DDIM"}], ids=str)
def test_neutral_settings_are_plain_cfgpp(make, job: dict):
    host, cfgpp = make(), {"cfgpp": {"scale": 0.6}}
    wanted = samples(host, cfgpp, **job)
    torch.testing.assert_close(samples(host, {**cfgpp, "apg": ALMOST}, **job), wanted, rtol=1e-3, atol=1e-2)


def test_with_cfgpp_it_is_a_share_of_the_papers():
    """``D - D_u`` at lambda is 1/12.5 of that at 12.5 times lambda."""
    apg = technique("apg", momentum=0)

    def moved(scale: float, unit: float) -> Tensor:
        return apg.combine(prediction(X, Y, scale), call(cfg_unit=unit)) - Y

    torch.testing.assert_close(moved(0.8, 1 / 12.5) * 12.5, moved(10.0, 1.0))


@EACH_HOST
def test_momentum_is_new_in_the_hires_pass(make):
    """It only counts from the second step on; the second pass has one step."""
    host = make()
    passes = {"enable_hr": True, "denoising_strength": 0.35, "steps": 3}
    with_momentum, without = (samples(host, {"apg": {"momentum": m}}, **passes) for m in (-0.5, 0))
    assert not torch.equal(with_momentum, without)
    first = {"steps": 1}
    assert torch.equal(*(samples(host, {"apg": {"momentum": m}}, **first) for m in (-0.5, 0)))


def test_momentum_begins_anew_where_the_noise_level_rises():
    """Restart's jumps, and its two calls a step, of which the second may lie at any level."""
    apg, memory = technique("apg", momentum=-0.5, norm_threshold=0.0, eta=1.0), PassMemory()
    levels = [(14, 8), (8, 4), (10, 9), (9, 2)]
    told = [prediction(X * (n + 1), Y, 2.0) for n in range(len(levels))]
    guidance, got = [one.guidance() for one in told], []
    for step, calls in enumerate(levels):
        for sigma in calls:
            at = call(index=step, sigma=float(sigma), memory=memory)
            got.append(apg.combine(told[step], at) - told[step].uncond - guidance[step])
    running = [guidance[0], guidance[1] - guidance[0] / 2, guidance[2], guidance[3] - guidance[2] / 2]
    for step, wanted in enumerate(running):
        torch.testing.assert_close(got[2 * step], wanted)
        torch.testing.assert_close(got[2 * step + 1], wanted)


def test_the_hires_pass_may_have_its_own_threshold():
    told = prediction(X, Y, 7.0)
    own = technique("apg", hires_norm_threshold=2.0)
    assert torch.equal(own.combine(told, call(hires=True)), technique("apg", norm_threshold=2.0).combine(told, call()))
    assert torch.equal(own.combine(told, call()), technique("apg").combine(told, call()))
    assert technique("apg", **NEUTRAL, hires_norm_threshold=2.0).inert(True) is None
