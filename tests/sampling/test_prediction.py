"""Sums over the prompts of each image."""

from __future__ import annotations

import torch

from lib_sdfm.sampling.prediction import Prediction
from tests.support import noise_of

WEIGHTS, IMAGES = torch.tensor([1.0, 0.5, -0.5, 2.0, 1.0, -1.0]), torch.tensor([0, 0, 0, 1, 2, 2])


def prediction() -> Prediction:
    return Prediction(noise_of(1, 6, 4, 2, 3), noise_of(2, 3, 4, 2, 3), WEIGHTS, IMAGES, cfg_scale=7.0)


def test_rows_are_summed_per_image():
    own = prediction()
    sums = own.sum_per_image(own.cond)
    torch.testing.assert_close(sums, torch.stack([own.cond[:3].sum(0), own.cond[3], own.cond[4:].sum(0)]))


def test_the_cond_of_an_image_is_the_weighted_mean_and_the_plain_one_without_a_sum():
    own = prediction()
    first = own.cond[0] + 0.5 * own.cond[1] - 0.5 * own.cond[2]
    torch.testing.assert_close(own.cond_per_image(), torch.stack([first, own.cond[3], own.cond[4:].mean(0)]))


def test_cfg_terms_sum_to_cfg():
    own = prediction()
    wanted = [
        sum(7.0 * WEIGHTS[row] * (own.cond[row] - own.uncond[image]) for row in range(6) if IMAGES[row] == image)
        for image in range(3)
    ]
    torch.testing.assert_close(own.sum_per_image(own.cfg_terms("CFG")), torch.stack(wanted))
