"""Predictions of a refiner's switch in the panel, compared with what happens."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image

from .switching import HIRES, MARKED, REFINER, SMALL, VALUES


def test_what_only_the_sampler_knows_is_said_so(expected):
    told = expected({**VALUES, "sampler": "DPM adaptive"})
    assert told.unknown == "DPM adaptive chooses its steps while it runs" and not told.calls


def test_img2img(switching, expected):
    picture = Image.new("RGB", (96, 96), "red")
    values = {name: value for name, value in VALUES.items() if name != "hires"}
    for strength in (0.5, 0.8, 1.0):
        with switching.watched() as seen:
            switching.host.img2img(picture, **MARKED, **{**REFINER, "steps": 10}, denoising_strength=strength)
        told = expected({**values, "steps": 10, "strength": strength})
        assert told.switch(0.5) == seen.change and len(told.calls) == told.steps == len(seen) and not told.unknown


def test_the_hires_pass(switching, expected):
    values = {**VALUES, "steps": 8, "hires": True, "hires_steps": 5, "hires_sampler": "Heun", "hires_scheduler": "Karras"}
    second = {"hr_second_pass_steps": 5, "hr_sampler_name": "Heun", "hr_scheduler": "Karras"}
    _, seen = switching.txt2img(**MARKED, **{**REFINER, **HIRES, "steps": 8}, **second)
    told = expected(values)
    assert told.name == "hires pass" and told.steps == 5
    assert told.switch(0.5) == seen.of_pass(1).change and len(told.calls) == len(seen.of_pass(1))


def test_asking_leaves_no_trace(expected):
    from modules import shared

    before = dict(shared.opts.data), set(vars(shared.sd_model))
    expected(VALUES)
    assert (dict(shared.opts.data), set(vars(shared.sd_model))) == before


@pytest.mark.parametrize("shown", ["Heun", "DPM2", "Euler", "DDIM"])
def test_asking_while_a_job_samples_changes_no_picture(switching, expected, shown: str):
    """The line asks in a request's thread; the host's job has replaced what samplers draw their noise by."""
    job = {**SMALL, "sampler_name": "Euler a", "prompt": "red circle"}

    def ask(params) -> None:
        thread = threading.Thread(target=lambda: told.append(expected({**VALUES, "sampler": shown})))
        thread.start()
        thread.join()

    told: list = []
    alone = switching.host.txt2img(**job)
    with switching.host.callback("cfg_denoiser", ask):
        asked = switching.host.txt2img(**job)
    assert len(told) == SMALL["steps"] and all(found.calls for found in told)
    assert np.array_equal(asked.pixels, alone.pixels)
