"""Dynamic thresholding against its definition, alone and with other techniques, in every space that samplers count in."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_sdfm.ops.thresholding import CURVES, scheduled_scale
from lib_sdfm.sampling.model_call import HostCounters, ModelCall
from lib_sdfm.sampling.plan import Plan, compose
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.techniques.dynamic_thresholding import DynamicThresholding, DynamicThresholdingSettings
from lib_sdfm.techniques.pag import Pag, PagSettings
from lib_sdfm.techniques.seg import Seg, SegSettings
from tests.hosts.fake_a1111 import Host, Processing, Sampler
from tests.hosts.jobs import job, samples
from tests.hosts.reference import SIGMAS, Reference, timestep_of
from tests.support import noise_of
from tests.techniques.reference import assert_same_picture, euler_samples, fresh_host

WEIGHTS, IMAGES, CFG = [1.0, 0.6, 1.3], [0, 0, 1], 12.0
COND, UNCOND = noise_of(1, 3, 4, 8, 6), noise_of(2, 2, 4, 8, 6) * torch.tensor([1.0, 5.0])[:, None, None, None]
PERTURBED = {"pag": noise_of(3, 3, 4, 8, 6), "seg": noise_of(4, 3, 4, 8, 6)}
PREDICTION = Prediction(COND, UNCOND, torch.tensor(WEIGHTS), torch.tensor(IMAGES), CFG, PERTURBED)
RELATIVE = PREDICTION.sum_per_image(PREDICTION.weighted(COND - UNCOND[IMAGES]))
SETTINGS = {"mimic_scale": 5.0, "phi": 0.3, "percentile": 99.5}


def step(index: int = 3, total: int = 10, call: int = 3, calls: int = 10, **more: Any) -> ModelCall:
    host = HostCounters(call=call, calls=calls, **{name: more.pop(name) for name in ("hires_sampler",) if name in more})
    return ModelCall(index=index, total=total, sigma=2.0, timestep=600.0, host=host, **more)


def combined(recipe: str = "sdfm", prediction: Prediction = PREDICTION, at: ModelCall | None = None, **settings: Any) -> Tensor:
    return DynamicThresholding(DynamicThresholdingSettings(**settings), recipe).combine(prediction, at or step())


def defined(
    uncond: Tensor, relative: Tensor, cfg_scale: float, *, mimic_scale: float, phi: float, percentile: float,
    startpoint: str = "MEAN", measure: str = "AD", separate_channels: bool = True, together: bool = False,
) -> Tensor:  # fmt: skip
    """The definition, in numpy: first the ranges, then one map after the other.

    :param together: one range for the whole batch
    """
    u, r = uncond.double().numpy(), relative.double().numpy()
    cfg, mim = u + r * cfg_scale, u + r * mimic_scale
    result = np.empty_like(cfg)
    for image, channel in itertools.product(range(len(u)), range(u.shape[1])):
        images = range(len(u)) if together and not separate_channels else [image]
        channels = [channel] if separate_channels else range(u.shape[1])
        maps = list(itertools.product(images, channels))
        mim_deviations = np.stack([mim[m] - mim[m].mean() for m in maps])
        cfg_deviations = np.stack([cfg[m] - cfg[m].mean() for m in maps])
        if measure == "STD":
            wanted, had = mim_deviations.std(ddof=1), cfg_deviations.std(ddof=1)
        else:
            wanted, had = np.abs(mim_deviations).max(), np.quantile(np.abs(cfg_deviations), percentile / 100)
        here, mean = cfg[image, channel], cfg[image, channel].mean()
        if startpoint == "ZERO":
            mapped = here * wanted / had
        elif measure == "STD":
            mapped = (here - mean) / had * wanted + mean
        else:
            had = max(wanted, had)
            mapped = np.clip(here - mean, -had, had) / had * wanted + mean
        result[image, channel] = phi * mapped + (1 - phi) * here
    return torch.from_numpy(result).float()


KINDS = [
    {"startpoint": startpoint, "measure": measure, "separate_channels": separate}
    for startpoint, measure, separate in itertools.product(["MEAN", "ZERO"], ["AD", "STD"], [True, False])
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
@pytest.mark.parametrize("recipe", ["sdfm", "original"])
def test_it_is_the_definition(recipe: str, kind: dict):
    """Prompts joined by AND count with their weights."""
    wanted = defined(UNCOND, RELATIVE, CFG, **SETTINGS, **kind, together=recipe == "original")
    torch.testing.assert_close(combined(recipe, **SETTINGS, **kind), wanted, rtol=1e-4, atol=1e-4)


def image_alone(image: int) -> Prediction:
    rows = [row for row, its in enumerate(IMAGES) if its == image]
    images = torch.zeros(len(rows), dtype=torch.long)
    return Prediction(COND[rows], UNCOND[image : image + 1], torch.tensor(WEIGHTS)[rows], images, CFG)


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("recipe", ["sdfm", "original"])
def test_images_of_a_batch_share_a_range_in_recipe_original_only(recipe: str, separate: bool):
    settings = {**SETTINGS, "separate_channels": separate}
    alone = torch.cat([combined(recipe, image_alone(image), **settings) for image in (0, 1)])
    same = torch.allclose(combined(recipe, **settings), alone, rtol=1e-4, atol=1e-4)
    assert same is (recipe == "sdfm" or separate)


@pytest.mark.parametrize("recipe", ["sdfm", "original"])
@pytest.mark.parametrize("separate", [True, False])
def test_a_mimic_scale_equal_to_cfg_keeps_plain_cfg(separate: bool, recipe: str):
    plain = UNCOND + PREDICTION.sum_per_image(PREDICTION.cfg_terms("CFG"))
    torch.testing.assert_close(combined(recipe, mimic_scale=CFG, separate_channels=separate), plain, rtol=1e-5, atol=1e-4)


def test_phi_is_the_share_of_the_thresholded_result():
    plain, full = combined(phi=0.0), combined()
    assert torch.equal(plain, UNCOND + RELATIVE * CFG)
    torch.testing.assert_close(combined(phi=0.25), plain * 0.75 + full * 0.25)


def test_what_is_plain_cfg_is_inert():
    def reason(**settings: Any) -> str | None:
        return DynamicThresholding(DynamicThresholdingSettings(**settings), "sdfm").inert(False)

    assert "plain CFG" in reason(phi=0.0)
    assert reason(phi=0.0, cfg_mode="Linear Down") is None and reason() is None


@pytest.mark.parametrize("mode", CURVES)
@pytest.mark.parametrize("index", [0, 3, 9])
def test_both_scales_follow_their_modes(mode: str, index: int):
    settings = {"mimic_mode": mode, "mimic_minimum": 2.0, "cfg_mode": "Linear Down", "cfg_minimum": 3.0, "value": 1.5}
    time = index / 9
    mimic_scale = scheduled_scale(5.0, 2.0, mode, 1.5, time)
    wanted = defined(UNCOND, RELATIVE, 3 + 9 * (1 - time), **{**SETTINGS, "mimic_scale": mimic_scale})
    got = combined(at=step(index, call=99), **SETTINGS, **settings)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_recipe_original_counts_denoiser_calls():
    settings = {**SETTINGS, "mimic_mode": "Linear Down"}
    wanted = defined(UNCOND, RELATIVE, CFG, **{**SETTINGS, "mimic_scale": 5.0 * (1 - 7 / 19)})
    got = combined("original", at=step(index=99, call=7, calls=20), **settings)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", CURVES)
@pytest.mark.parametrize("recipe", ["sdfm", "original"])
def test_one_step_is_enough(recipe: str, mode: str):
    """The original divided by zero there."""
    result = combined(recipe, at=step(index=0, total=1, call=0, calls=1), mimic_mode=mode, cfg_mode=mode, mimic_minimum=1.0)
    assert result.isfinite().all()


def test_what_the_sampler_multiplies_cfg_with_counts_for_both_scales():
    multiplier = 1 / 12.5
    small = Prediction(COND, UNCOND, PREDICTION.weights, PREDICTION.images, CFG * multiplier)
    got = combined(prediction=small, at=step(scale_multiplier=multiplier), **SETTINGS)
    wanted = defined(UNCOND, RELATIVE, CFG * multiplier, **{**SETTINGS, "mimic_scale": 5.0 * multiplier})
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_it_replaces_cfg_and_pag_and_seg_are_added_afterwards():
    techniques = (Pag(PagSettings(scale=2.0), "sdfm"), Seg(SegSettings(scale=3.0), "sdfm"))
    thresholding = DynamicThresholding(DynamicThresholdingSettings(**SETTINGS), "sdfm")
    plan = Plan("sdfm", (*techniques, thresholding))
    got = compose(plan.active(step()), PREDICTION, step(), lambda: torch.full_like(UNCOND, torch.nan))
    terms = 2 * (COND - PERTURBED["pag"]) + 3 * (COND - PERTURBED["seg"])
    added = PREDICTION.sum_per_image(PREDICTION.weighted(terms))
    torch.testing.assert_close(got, defined(UNCOND, RELATIVE, CFG, **SETTINGS) + added, rtol=1e-4, atol=1e-4)


def test_in_recipe_original_pag_leaves_it_without_effect():
    thresholding = DynamicThresholding(DynamicThresholdingSettings(**SETTINGS), "original")
    alone, beside = Plan("original", (thresholding,)), Plan("original", (Pag(PagSettings(), "original"), thresholding))
    assert alone.active(step()) == (thresholding,)
    assert thresholding not in beside.active(step())
    assert "PAG computed CFG itself" in beside.why_inert(thresholding, False)


@pytest.mark.parametrize(("recipe", "acts"), [("sdfm", True), ("original", False)])
def test_a_hires_pass_with_a_sampler_of_its_own(recipe: str, acts: bool):
    """The original replaced the first pass' sampler alone."""
    thresholding = DynamicThresholding(DynamicThresholdingSettings(), recipe)
    assert thresholding.active(step(hires=True, hires_sampler=True)) is acts
    assert thresholding.active(step(hires=True)) and thresholding.active(step(hires_sampler=True))


@pytest.fixture
def host() -> Host:
    return fresh_host()


REQUEST = {"dynamic_thresholding": SETTINGS}


class Thresholded(Reference):
    """A model with thresholded CFG, one image at a time, in x0."""

    def __call__(self, x: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        level = float(sigma[0])
        return torch.cat([self._denoised(x[i : i + 1], level, i) for i in range(len(x))])

    def _denoised(self, x: Tensor, sigma: float, image: int) -> Tensor:
        def x0(text: Tensor) -> Tensor:
            return x - sigma * self._predict(x / (sigma**2 + 1) ** 0.5, timestep_of(sigma), text)

        uncond = x0(self.uncond[image])
        relative = sum(weight * (x0(text) - uncond) for text, weight in self.conds[image])
        return defined(uncond, relative, 7.0, **SETTINGS)


def thresholded(p: Processing) -> Thresholded:
    return Thresholded(p.sd_model.model.diffusion_model, p.c, p.uc)


@pytest.mark.parametrize("settings", [{}, {"batch_size": 2}, {"width": 80, "height": 48}], ids=str)
def test_pictures_are_those_of_the_definition(host: Host, settings: dict):
    got = samples(host, REQUEST, **settings)
    assert_same_picture(got, euler_samples(host, thresholded, **settings))
    assert (got - samples(host, **settings)).std() > 0.02


@pytest.mark.parametrize("recipe", ["sdfm", "original"])
@pytest.mark.parametrize("kind", [{}, {"startpoint": "ZERO", "measure": "STD", "separate_channels": False}], ids=str)
def test_timestep_samplers_compute_in_x0(host: Host, monkeypatch: pytest.MonkeyPatch, kind: dict, recipe: str):
    """DDIM and Euler are one sampler in two coordinates."""
    sigmas = torch.tensor(SIGMAS[[999, 667, 334, 1]]).float()
    monkeypatch.setattr(Sampler, "get_sigmas", lambda self, steps: sigmas)
    request = {"recipe": recipe, "dynamic_thresholding": {**SETTINGS, **kind}}
    euler = samples(host, request)
    p = job(host, request, sampler_name="DDIM")
    p.noise = lambda *size: job(host).noise(*size) * sigmas[0] / (1 + sigmas[0] ** 2) ** 0.5
    assert_same_picture(host.run(p) * (1 + sigmas[-1] ** 2) ** 0.5, euler)


@pytest.mark.parametrize("sampler_name", ["Euler a", "Heun", "DPM++ 2M", "DDIM", "DDIM CFG++", "PLMS", "UniPC"])
@pytest.mark.parametrize("recipe", ["sdfm", "original"])
def test_it_works_with_every_kind_of_sampler(host: Host, recipe: str, sampler_name: str):
    settings = {"sampler_name": sampler_name, "steps": 3}
    request = {"recipe": recipe, "dynamic_thresholding": {"mimic_scale": 2.0}}
    both = samples(host, request, batch_size=2, **settings)
    assert_same_picture(both, samples(host, request, n_iter=2, **settings))
    assert (both - samples(host, batch_size=2, **settings)).std() > 1e-3
    assert samples(host, request, sampler_name=sampler_name, steps=1).isfinite().all()


def test_neutral_settings_keep_the_picture(host: Host):
    picture = samples(host)
    assert torch.equal(samples(host, {"dynamic_thresholding": {"phi": 0}}), picture)
    assert_same_picture(samples(host, {"dynamic_thresholding": {"mimic_scale": 7.0}}), picture)
