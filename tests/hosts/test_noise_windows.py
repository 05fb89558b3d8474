"""Windows of noise levels: in k-diffusion's scale on every kind of model and with every kind of sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.techniques.pag import Pag
from tests.hosts.fake_a1111 import Host
from tests.hosts.flow_hosts import flow_a1111, flow_forge, unet_of
from tests.hosts.jobs import job, new_forge, new_host, samples
from tests.support import stable_diffusion_alphas

NEVER = {"sigma_from": 0.0001}
SAMPLERS = ["Euler", "Heun", "DPM++ 2M", "DDIM"]


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Noise levels of the calls in which a window was asked."""
    found: list[float] = []
    asked = Technique.in_noise_window

    def noted(technique: Technique, call: ModelCall) -> bool:
        found.append(call.sigma)
        return asked(technique, call)

    monkeypatch.setattr(Technique, "in_noise_window", noted)
    return found


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("make", [flow_a1111, flow_forge], ids=["a1111", "forge"])
def test_levels_of_a_flow_model_are_those_of_the_times_that_its_unet_gets(
    make: Any, sampler: str, levels: list[float], tmp_path: Path
):
    host = make(tmp_path)
    samples(host, {"flow": {"shift": 3.0}, "pag": NEVER}, sampler_name=sampler, steps=6)
    times = torch.tensor(unet_of(host).times)
    ours = torch.tensor(levels)
    assert len(levels) == len(times) >= 5
    torch.testing.assert_close(1000 * ours / (1 + ours), times, rtol=2e-3, atol=0.5)


@pytest.mark.parametrize(
    ("name", "sampler"), [("pag", "Euler"), ("pag", "DDIM"), ("seg", "DPM++ 2M"), ("tpg", "Euler"), ("nag", "DDIM")]
)
@pytest.mark.parametrize("make", [new_host, new_forge], ids=["a1111", "forge"])
def test_a_window_holds_the_steps_of_its_levels(make: Any, name: str, sampler: str, levels: list[float]):
    """From the level of one step to that of another it equals a window of steps, and costs as many calls."""
    host, settings = make(), {"sampler_name": sampler, "steps": 6}
    samples(host, {name: NEVER}, **settings)
    window = {"sigma_from": levels[1] * 1.001, "sigma_to": levels[4] * 1.001}
    host.sd_model.calls.clear()
    by_level = samples(host, {name: window}, **settings)
    calls = list(host.sd_model.calls)
    host.sd_model.calls.clear()
    torch.testing.assert_close(by_level, samples(host, {name: {"start_step": 1, "end_step": 3}}, **settings))
    assert calls == host.sd_model.calls
    assert not torch.equal(by_level, samples(host, **settings))


@pytest.mark.parametrize("make", [new_host, new_forge], ids=["a1111", "forge"])
def test_a_window_that_held_no_step_is_named(make: Any):
    host = make()
    for window, why in (
        ({"sigma_from": 1, "sigma_to": 3}, "from 1 down to 3, contains no noise level"),
        (NEVER, "contains none of its steps, which went from 14.6"),
    ):
        p = job(host, {"pag": window})
        assert torch.equal(host.run(p), samples(host))
        assert len(p.comments) == 1 and why in p.comments[0]
    assert "PAG Active" in p.extra_generation_params  # its levels were known only afterwards
    p = job(host, {"pag": {"sigma_to": 1.0}})
    host.run(p)
    assert p.comments == [] and p.extra_generation_params["PAG Sigma To"] == 1


def test_recipe_original_has_no_such_window(host: Host):
    with pytest.raises(Exception, match="pag.sigma_to.*as the old extensions"):
        samples(host, {"recipe": "original", "pag": {"sigma_to": 1.0}})


def test_times_of_a_flow_model_that_the_host_samples_itself_are_converted():
    """Forge Neo's predictor of rectified flow, whose sampler's sigmas are times from 0 to 1."""
    host, seen = new_forge(), []
    host.sd_model.kmodel.predictor.prediction_type = "const"
    host.sd_model.kmodel.predictor.sigmas = torch.linspace(0.001, 1, 1000)
    noted = Pag.active
    Pag.active = lambda self, call: seen.append((call.sigma, call.timestep)) or noted(self, call)
    try:
        samples(host, {"pag": {"sigma_to": 0.5}}, steps=4)
    finally:
        Pag.active = noted
    assert seen[0][0] == pytest.approx(9999, rel=1e-3) and len(seen) == 4
    assert all(time == pytest.approx(1000 * level / (1 + level)) for level, time in seen)


def test_levels_of_an_ordinary_model(levels: list[float]):
    alphas = stable_diffusion_alphas()
    samples(new_host(), {"pag": NEVER}, sampler_name="Euler", steps=5)
    assert levels[0] == pytest.approx(float(((1 - alphas[-1]) / alphas[-1]) ** 0.5), rel=1e-4)
