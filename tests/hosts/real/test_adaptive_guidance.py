"""Adaptive guidance and the hires pass' CFG scale in a real WebUI."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.hosts.real.client import Pictures, Refused, WebUi

SAMPLERS = ["Euler", "DPM++ 2M", "DDIM", "LCM"]
MEASURED = {"compare": "noise", "threshold": 0.97}
"""With this small checkpoints of random weights cross within a run."""


@pytest.fixture(params=["loaded", "another"])
def checkpoint(request: pytest.FixtureRequest, webui: WebUi) -> dict:
    """The request's field for a checkpoint."""
    if request.param == "loaded":
        return {}
    return {"override_settings": {"sd_model_checkpoint": request.getfixturevalue("another_checkpoint")}}


def adaptive(**settings: object) -> dict:
    return {"adaptive_guidance": settings}


def steps_of(pictures: Pictures, key: str = "SDFM AG Step") -> list[int]:
    return [int(re.search(rf"{key}: (\d+)", text)[1]) for text in pictures.texts]


def apart(one: bytes, other: bytes) -> float:
    """Mean absolute difference of two pictures, of 255."""
    return float(np.abs(np.frombuffer(one, np.uint8).astype(int) - np.frombuffer(other, np.uint8).astype(int)).mean())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_step_found_gives_the_picture_back(webui: WebUi, checkpoint: dict, sampler: str):
    request = {"sampler_name": sampler, "scheduler": "Automatic", **checkpoint}
    found = webui.txt2img(adaptive(**MEASURED), **request)
    (step,) = steps_of(found)
    again = webui.txt2img(adaptive(**MEASURED, step=max(step, 1)), **request)
    assert found.pixels == again.pixels and steps_of(again) == [step] and step >= 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_batch_is_its_single_pictures(webui: WebUi, sampler: str):
    request = {"sampler_name": sampler, "scheduler": "Automatic", "prompt": "a house", "seed": 5}
    batch = webui.txt2img(adaptive(**MEASURED), batch_size=3, **request)
    assert len(batch.texts) >= 3
    texts, pixels = batch.texts[-3:], batch.pixels[-3:]
    for image, step in enumerate(steps_of(Pictures(pixels, texts))):
        single = webui.txt2img(adaptive(**MEASURED), **{**request, "seed": 5 + image})
        assert steps_of(single) == [step] and apart(single.pixels[0], pixels[image]) < 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_from_a_step_on_it_is_cfg_1(webui: WebUi, sampler: str):
    request = {"sampler_name": sampler, "scheduler": "Automatic"}
    plain, none, all_of_it = (webui.txt2img(asked, **request) for asked in (None, adaptive(step=99), adaptive(step=3)))
    assert plain.difference(none) < 0.1 < plain.difference(all_of_it)


def test_it_stands_beside_pag(webui: WebUi):
    both, alone = webui.txt2img({**adaptive(step=3), "pag": {}}), webui.txt2img(adaptive(step=3))
    assert both.difference(alone) > 1


@pytest.mark.parametrize("other", [{"cfgpp": {}}, {"dynamic_thresholding": {}}], ids=str)
def test_what_needs_uncond_is_refused_by_name(webui: WebUi, other: dict):
    with pytest.raises(Refused, match="needs the unconditional prediction in every step"):
        webui.txt2img({**adaptive(), **other})


@pytest.mark.parametrize("sampler", ["Euler CFG++", "DDIM CFG++"])
def test_samplers_that_renoise_with_uncond_are_refused_by_name(webui: WebUi, sampler: str, plain: Pictures):
    with pytest.raises(Refused, match=f"Adaptive guidance: {re.escape(sampler[:4])}"):
        webui.txt2img(adaptive(), sampler_name=sampler, cfg_scale=0.6, scheduler="Automatic")
    assert webui.txt2img().pixels == plain.pixels


HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6}


def test_each_pass_finds_its_own_step(webui: WebUi):
    found = webui.txt2img(adaptive(**MEASURED), **HIRES)
    steps = {"step": steps_of(found)[0], "hires_step": steps_of(found, "SDFM AG Hires Step")[0]}
    assert webui.txt2img(adaptive(**MEASURED, **steps), **HIRES).pixels == found.pixels


def test_pasted_text_gives_the_picture_back(reader: WebUi):
    found = reader.txt2img(adaptive(**MEASURED), **HIRES)
    assert reader.pasted(found.texts[0]).pixels == found.pixels


class TestHiresCfg:
    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_its_text_gives_the_picture_back(self, a1111: WebUi, sampler: str):
        request = {**HIRES, "sampler_name": sampler, "scheduler": "Automatic"}
        plain, same, low = (a1111.txt2img(asked, **request) for asked in (None, _hires(5), _hires(1.5)))
        assert same.pixels == plain.pixels and low.difference(plain) > 0.5
        assert "Hires CFG Scale: 1.5" in low.texts[0] and "CFG scale: 5" in low.texts[0]
        assert a1111.pasted(low.texts[0]).pixels == low.pixels

    def test_without_a_hires_pass_nothing_is_written(self, a1111: WebUi, plain: Pictures):
        made = a1111.txt2img(_hires(2))
        assert made.pixels == plain.pixels and "SDFM" not in made.texts[0]

    def test_forge_is_told_to_use_its_own(self, forge: WebUi):
        with pytest.raises(Refused, match="hr_cfg"):
            forge.txt2img(_hires(2))
        made = forge.txt2img({"pag": {}}, **HIRES, hr_cfg=3)
        assert "Hires CFG Scale: 3" in made.texts[0]
        assert "hires_cfg" not in forge.get("/sdfm/v1/schema")["properties"]


def _hires(scale: float) -> dict:
    return {"hires_cfg": {"scale": scale}}
