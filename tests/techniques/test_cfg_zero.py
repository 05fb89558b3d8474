"""CFG-Zero*, against its authors' and diffusers', and where it takes part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.ops.flow import denoised_to_velocity, flow_to_exploding, time_to_sigma, velocity_to_denoised
from lib_sdfm.sampling.memory import PassMemory
from lib_sdfm.sampling.plan import Plan
from lib_sdfm.sampling.prediction import Prediction
from sdfm_webui.errors import SdfmError
from tests.hosts.flow_hosts import flow_a1111, flow_forge
from tests.hosts.jobs import HOSTS, samples
from tests.support import noise_of
from tests.techniques.recorded_guidance import Case, assert_recorded, call, prediction, recorded, technique

NOISE = noise_of(5, 2, 4, 8, 8).double()


def told(velocities: tuple[Tensor, Tensor], x: Tensor, t: float, scale: float) -> Prediction:
    """The prediction of a flow model's velocities for a prompt and for none."""
    cond, uncond = (velocity_to_denoised(v, x, t) for v in velocities)
    return prediction(cond, uncond, scale, noisy=flow_to_exploding(x, t))


@pytest.mark.parametrize("case", recorded("zero-author"), ids=lambda case: case.id)
def test_it_is_the_authors(case: Case):
    x, t = case.inputs["x_t"], case.params["t"]
    given = told((case.inputs["cond"], case.inputs["uncond"]), x, t, case.params["scale"])
    got = technique("cfg_zero").combine(given, call(sigma=time_to_sigma(t), flow_model=True))
    assert_recorded(got, case.outputs["denoised"])
    assert_recorded(denoised_to_velocity(got, x, t), case.outputs["velocity"])


@pytest.mark.parametrize("case", recorded("zero-diffusers"), ids=lambda case: case.id)
def test_it_is_diffusers(case: Case):
    """Its first step is left out."""
    zero, memory = technique("cfg_zero", zero_steps=case.params["zero_init_steps"]), PassMemory()
    for step in range(case.params["step"] + 1):
        t = 0.999 - 0.1 * step
        given = told((case.inputs["cond"], case.inputs["uncond"]), NOISE, t, case.params["scale"])
        got = zero.combine(given, call(index=step, total=20, sigma=time_to_sigma(t), flow_model=True, memory=memory))
    assert_recorded(denoised_to_velocity(got, NOISE, t), case.outputs["result"])


@pytest.mark.parametrize(("start", "index", "total", "left_out"), [
    (0.9999, 0, 20, True), (0.9999, 1, 20, True), (0.9999, 2, 20, False),
    (0.95, 0, 20, False), (0.6, 1, 20, False),
    (0.9999, 0, 1, False), (0.9999, 1, 2, False),
])  # fmt: skip
def test_steps_are_left_out_where_a_pass_begins_in_noise_and_never_the_last(
    start: float, index: int, total: int, left_out: bool
):
    zero, memory = technique("cfg_zero", zero_steps=2), PassMemory()
    given = told((NOISE, NOISE.flip(-1)), NOISE, 0.5, 4.0)
    for step in range(index + 1):
        sigma = time_to_sigma(start if step == 0 else 0.5)
        got = zero.combine(given, call(index=step, total=total, sigma=sigma, flow_model=True, memory=memory))
    assert torch.allclose(got, given.noisy / (1 + sigma)) is left_out


def test_other_models_are_refused_by_name():
    plan = Plan("sdfm", (technique("cfg_zero"),))
    with pytest.raises(UnsupportedError, match=r"^CFG-Zero\*: only for flow models"):
        plan.active(call())
    assert plan.active(call(flow_model=True))


@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
def test_a_job_with_another_model_is_refused(make):
    host = make()
    plain = samples(host)
    with pytest.raises(SdfmError, match=r"CFG-Zero\*: only for flow models"):
        samples(host, {"cfg_zero": {}})
    assert torch.equal(samples(host), plain)


@pytest.mark.parametrize("make", [flow_a1111, flow_forge], ids=["A1111", "Forge"])
def test_a_flow_model_is_sampled(make, tmp_path: Path):
    """The model predicts the same with and without a prompt: it differs only by the step that is left out."""
    host = make(tmp_path)
    request = {"flow": {"shift": 3}}
    plain = samples(host, request, steps=8)
    torch.testing.assert_close(samples(host, {**request, "cfg_zero": {"zero_steps": 0}}, steps=8), plain, rtol=1e-3, atol=1e-3)
    zeroed = samples(host, {**request, "cfg_zero": {}}, steps=8)
    assert zeroed.isfinite().all() and (zeroed - plain).abs().max() > 1e-3
