"""What the panel says about a refiner's switch beforehand, against what happens."""

from __future__ import annotations

import pytest
from PIL import Image

from .test_refiner import HIRES, MARKED, REFINER, change_of, watched

VALUES = {"sampler": "Euler", "scheduler": "Automatic", "steps": 6, "strength": 0.8, "hires": False}


@pytest.fixture
def expected(host):
    """From values of the panel to the pass in which the refiner takes over."""
    from modules import sd_samplers, sd_samplers_common, shared

    from sdfm_webui.expectation import HostSchedule

    return HostSchedule(sd_samplers, sd_samplers_common, shared.opts, lambda: shared.sd_model, goes_by_calls=False)


@pytest.mark.parametrize("by_steps", [False, True])
def test_every_sampler_switches_at_the_call_that_is_told(host, expected, by_steps: bool):
    from modules import shared

    settings = {"refiner_switch_by_sample_steps": by_steps}
    for sampler in (sampler["name"] for sampler in host.get("samplers")):
        with watched(host) as seen:
            host.txt2img(**MARKED, **REFINER, sampler_name=sampler, override_settings=settings)
        shared.opts.data.update(settings)
        told = expected({**VALUES, "sampler": sampler})
        shared.opts.data.clear()
        if told is None:
            assert sampler in ("DPM adaptive", "Restart") or "CFG++" in sampler
        else:
            assert told.switch(0.5) == change_of(seen), sampler
            assert told.calls[0].step == 0 and told.calls[-1].step <= 6


def test_img2img(host, expected):
    picture = Image.new("RGB", (64, 64), "red")
    values = {name: value for name, value in VALUES.items() if name != "hires"}
    for strength in (0.5, 0.8, 1.0):
        with watched(host) as seen:
            host.img2img(picture, **MARKED, **{**REFINER, "steps": 10}, denoising_strength=strength)
        told = expected({**values, "steps": 10, "strength": strength})
        assert told.switch(0.5) == change_of(seen) and len(told.calls) == told.steps == len(seen)


def test_the_hires_pass(host, expected):
    values = {**VALUES, "steps": 8, "hires": True, "hires_steps": 5, "hires_sampler": "Heun", "hires_scheduler": "Karras"}
    with watched(host) as seen:
        host.txt2img(
            **MARKED, **{**REFINER, **HIRES, "steps": 8}, hr_second_pass_steps=5, hr_sampler_name="Heun", hr_scheduler="Karras"
        )
    told = expected(values)
    assert told.name == "hires pass" and told.steps == 5
    assert told.switch(0.5) == change_of(seen.of_pass(1)) and len(told.calls) == len(seen.of_pass(1))


def test_asking_leaves_no_trace(host, expected):
    from modules import shared

    before = dict(shared.opts.data), set(vars(shared.sd_model))
    expected(VALUES)
    assert (dict(shared.opts.data), set(vars(shared.sd_model))) == before
