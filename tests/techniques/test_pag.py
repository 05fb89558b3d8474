"""PAG's arithmetic, written out row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_sdfm.ops.fusion import fuse_over_channels, fuse_over_pixels
from lib_sdfm.sampling.layers import parse_layers
from lib_sdfm.sampling.model_call import HostCounters, ModelCall
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.techniques.pag import Pag, PagSettings
from tests.support import noise_of

WEIGHTS, IMAGES = [1.0, 0.6, 1.3], [0, 0, 1]
COND, UNCOND, PERTURBED = noise_of(1, 3, 4, 8, 8), noise_of(2, 2, 4, 8, 8), noise_of(3, 3, 4, 8, 8)
PREDICTION = Prediction(COND, UNCOND, torch.tensor(WEIGHTS), torch.tensor(IMAGES), 7.0, {"pag": PERTURBED})
CFG = UNCOND + PREDICTION.sum_per_image(PREDICTION.cfg_terms("CFG"))


def step(**more: Any) -> ModelCall:
    return ModelCall(index=3, total=10, sigma=2.0, timestep=600.0, **more)


def corrected(recipe: str = "sdfm", at: ModelCall | None = None, **settings: Any) -> Tensor:
    return Pag(PagSettings(**settings), recipe).correct(CFG, PREDICTION, at or step())


def term(scale: float) -> Tensor:
    """Return what PAG adds to each image."""
    rows = [weight * scale * (COND[row] - PERTURBED[row]) for row, weight in enumerate(WEIGHTS)]
    return torch.stack([rows[0] + rows[1], rows[2]])


@pytest.mark.parametrize("recipe", ["sdfm", "original"])
def test_the_term_is_added_to_what_guides_already(recipe: str):
    torch.testing.assert_close(corrected(recipe, scale=3.0), CFG + term(3.0))


def test_the_samplers_multiplier_counts_in_recipe_sdfm_only():
    divided = step(scale_multiplier=1 / 12.5)
    torch.testing.assert_close(corrected(at=divided, scale=3.0), CFG + term(3.0 / 12.5))
    torch.testing.assert_close(corrected("original", at=divided, scale=3.0), CFG + term(3.0))


def test_adaptive_and_rescale():
    torch.testing.assert_close(corrected(scale=2.0, adaptive=0.2), CFG + term(2.0 * (1 - 0.2**4 * 400)))
    added = term(2.0)
    cond = torch.stack([(COND[0] + 0.6 * COND[1]) / 1.6, COND[2]])
    factors = torch.stack([0.5 * cond[i].std() / (CFG + added)[i].std() + 0.5 for i in (0, 1)])
    torch.testing.assert_close(corrected(scale=2.0, rescale=0.5), CFG + added * factors.view(2, 1, 1, 1))


def test_fusion_of_recipe_sdfm_picks_per_image_between_what_guides_and_pag():
    wanted = UNCOND + fuse_over_pixels(CFG - UNCOND, term(3.0))
    torch.testing.assert_close(corrected(scale=3.0, sanf=True), wanted)


def test_fusion_of_recipe_original_picks_per_prompt_between_cfg_and_pag():
    wanted = UNCOND.clone()
    for row, (weight, image) in enumerate(zip(WEIGHTS, IMAGES)):
        cfg = weight * 7.0 * (COND[row] - UNCOND[image])
        pag = weight * 3.0 * (COND[row] - PERTURBED[row])
        wanted[image] += fuse_over_channels(cfg[None], pag[None])[0]
    torch.testing.assert_close(corrected("original", scale=3.0, sanf=True), wanted)


def test_layers_and_projection_are_the_recipes():
    ours = Pag(PagSettings(layers="output.3"), "sdfm").perturbation(step())
    theirs = Pag(PagSettings(layers="output.3"), "original").perturbation(step())
    assert (ours.layers, ours.identity, ours.project) == (parse_layers("output.3"), True, True)
    assert (theirs.layers, theirs.identity, theirs.project) == (parse_layers("middle.0"), True, False)


@pytest.mark.parametrize("hires", [False, True])
def test_hires_values_replace_those_of_the_first_pass(hires: bool):
    at = step(hires=hires, host=HostCounters(lagging=3))
    settings = {"scale": 2.0, "hires_scale": 5.0}
    torch.testing.assert_close(corrected(at=at, **settings), CFG + term(5.0 if hires else 2.0))
    assert Pag(PagSettings(start_step=9, hires_start_step=0), "sdfm").active(at) is hires
    assert Pag(PagSettings(end_step=2, hires_end_step=9), "original").active(at) is hires
    assert (Pag(PagSettings(hires_scale=0.0), "sdfm").inert(hires) is None) is not hires


def test_it_takes_no_part_where_adaptive_has_faded_it_out():
    assert not Pag(PagSettings(adaptive=1.0), "sdfm").active(step())
    assert Pag(PagSettings(adaptive=1.0), "original").active(step(host=HostCounters(lagging=3)))
