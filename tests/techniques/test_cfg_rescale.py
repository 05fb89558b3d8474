"""CFG rescale, against diffusers' and against the same on velocities in plain torch."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError, UnsupportedError
from lib_sdfm.ops.guidance import rescale_guided
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.techniques.cfg_rescale import CfgRescale, CfgRescaleSettings
from tests.hosts.fake_a1111 import Host, Processing
from tests.hosts.jobs import new_forge, samples
from tests.hosts.reference import Reference
from tests.support import noise_of
from tests.techniques.reference import assert_same_picture, euler_samples, fresh_host

GUIDED, COND, NOISY = noise_of(1, 2, 4, 8, 6) * 2, noise_of(2, 2, 4, 8, 6), noise_of(3, 2, 4, 8, 6) * 5
WEIGHTS, IMAGES = [1.0, 0.6, 1.3], [0, 0, 1]
STEP = ModelCall(index=3, total=10, sigma=2.0, timestep=600.0)
levels = st.floats(0.03, 1000)


def velocity(denoised: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    """Return the prediction of a v-prediction model: ``sqrt(alpha_bar) * eps - sqrt(1 - alpha_bar) * x0``."""
    alpha_bar = 1 / (sigma**2 + 1)
    return alpha_bar**0.5 * (noisy - denoised) / sigma - (1 - alpha_bar) ** 0.5 * denoised


def from_velocity(v: Tensor, noisy: Tensor, sigma: float) -> Tensor:
    alpha_bar = 1 / (sigma**2 + 1)
    return alpha_bar**0.5 * (noisy * alpha_bar**0.5) - (1 - alpha_bar) ** 0.5 * v


@given(levels, st.floats(0, 1))
def test_it_is_diffusers_rescale_of_velocities(sigma: float, phi: float):
    noisy = (COND + noise_of(4, *COND.shape) * sigma).double()
    vs = [velocity(denoised.double(), noisy, sigma) for denoised in (GUIDED, COND)]
    wanted = from_velocity(rescale_noise_cfg(*vs, guidance_rescale=phi), noisy, sigma)
    got = rescale_guided(GUIDED.double(), COND.double(), noisy, sigma, phi)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


@given(levels, st.floats(0, 1))
def test_what_is_not_guided_stays(sigma: float, phi: float):
    torch.testing.assert_close(rescale_guided(COND, COND, NOISY, sigma, phi), COND, rtol=1e-4, atol=1e-4)


@given(levels)
def test_at_1_the_deviation_is_that_of_the_cond_prediction(sigma: float):
    noisy = (COND + noise_of(4, *COND.shape) * sigma).double()
    rescaled = rescale_guided(GUIDED.double(), COND.double(), noisy, sigma, 1.0)
    deviations = [velocity(d.double(), noisy, sigma).std(dim=(1, 2, 3)) for d in (rescaled, COND)]
    torch.testing.assert_close(*deviations, rtol=1e-6, atol=1e-8)


def test_0_changes_nothing():
    assert rescale_guided(GUIDED, COND, NOISY, 2.0, 0.0) is GUIDED


@pytest.mark.parametrize("sigma", [1e-4, 14.6, 1e4])
def test_half_precision_and_extremes_stay_finite(sigma: float):
    constant = torch.zeros(1, 4, 8, 8)
    for guided, cond, noisy in ((constant, constant, constant), (GUIDED.half().float(), COND, NOISY)):
        assert rescale_guided(guided, cond, noisy, sigma, 0.7).isfinite().all()


def prediction(rows: slice = slice(None), image: slice = slice(None)) -> Prediction:
    images = torch.tensor(IMAGES)[rows]
    conds, uncond = noise_of(5, 3, 4, 8, 6)[rows], noise_of(6, 2, 4, 8, 6)[image]
    return Prediction(conds, uncond, torch.tensor(WEIGHTS)[rows], images - images.min(), 7.0, noisy=NOISY[image])


def corrected(told: Prediction, guided: Tensor, phi: float = 0.7) -> Tensor:
    return CfgRescale(CfgRescaleSettings(phi), "sdfm").finish(guided, told, STEP)


def test_a_batch_of_two_equals_two_of_one():
    both = corrected(prediction(), GUIDED)
    parts = corrected(prediction(slice(2), slice(1)), GUIDED[:1]), corrected(prediction(slice(2, 3), slice(1, 2)), GUIDED[1:])
    torch.testing.assert_close(both, torch.cat(parts))


def test_several_prompts_count_by_their_weights():
    told = prediction()
    mean = torch.stack([(told.cond[0] + 0.6 * told.cond[1]) / 1.6, told.cond[2]])
    torch.testing.assert_close(corrected(told, GUIDED), rescale_guided(GUIDED, mean, NOISY, 2.0, 0.7))


def test_without_the_latent_it_refuses():
    with pytest.raises(UnsupportedError, match="CFG rescale"):
        corrected(dataclasses.replace(prediction(), noisy=None), GUIDED)


def test_recipe_original_has_none():
    with pytest.raises(SettingError, match="CFG rescale"):
        SCHEMA.settings({**SCHEMA.defaults(), "recipe": "original", "cfg_rescale.enabled": True})
    assert CfgRescale(CfgRescaleSettings(0.0), "sdfm").inert(False)


class RescaledReference(Reference):
    """CFG, PAG, and then the rescale of what the model says as a velocity."""

    phi = 0.7

    def __call__(self, x: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        level, call = float(sigma[0]), self.calls
        guided = super().__call__(x, sigma)
        self.calls, cfg, pag = call, self.cfg, self.pag
        self.cfg, self.pag = (lambda *_: 1.0), (lambda *_: 0.0)
        cond = super().__call__(x, sigma)
        self.cfg, self.pag = cfg, pag
        vs = [velocity(denoised, x, level) for denoised in (guided, cond)]
        return from_velocity(rescale_noise_cfg(*vs, guidance_rescale=self.phi), x, level)


def model(p: Processing) -> RescaledReference:
    return RescaledReference(p.sd_model.model.diffusion_model, p.c, p.uc)


REQUEST = {"pag": {"scale": 3}, "cfg_rescale": {"phi": 0.7}}


@pytest.fixture
def host() -> Host:
    return fresh_host()


@pytest.mark.parametrize("settings", [{}, {"batch_size": 2}], ids=str)
def test_pictures_are_those_of_plain_torch(host: Host, settings: dict):
    wanted = euler_samples(host, model, steps=4, **settings)
    got = samples(host, REQUEST, steps=4, **settings)
    assert_same_picture(got, wanted)
    assert (got - samples(host, {"pag": {"scale": 3}}, steps=4, **settings)).std() > 0.02


def test_the_other_host_gives_the_same_picture(host: Host):
    ours = samples(host, REQUEST, steps=4)
    assert_same_picture(samples(new_forge(), REQUEST, steps=4), ours)


@pytest.mark.parametrize(("sampler_name", "first"), [("Euler", 14.6), ("DDIM", 4.0)])
def test_the_latent_is_the_denoised_image_and_noise(
    host: Host, monkeypatch: pytest.MonkeyPatch, sampler_name: str, first: float
):
    """Also with timestep samplers, whose own latents have a variance of 1: only their scale is another."""
    seen: list[tuple[Tensor, float]] = []

    def look(self: CfgRescale, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        seen.append((prediction.noisy, call.sigma))
        return denoised

    monkeypatch.setattr(CfgRescale, "finish", look)
    samples(host, {"cfg_rescale": {}}, steps=4, sampler_name=sampler_name)
    noisy, sigma = seen[0]
    assert sigma > first
    assert float(noisy.std()) == pytest.approx((sigma**2 + (sampler_name == "DDIM")) ** 0.5, rel=0.1)


@pytest.mark.parametrize("sampler_name", ["Euler", "DDIM"])
def test_neutral_settings_are_bit_equal_to_none(host: Host, sampler_name: str):
    request = {"cfg_rescale": {"phi": 0}}
    assert torch.equal(samples(host, request, sampler_name=sampler_name), samples(host, sampler_name=sampler_name))
