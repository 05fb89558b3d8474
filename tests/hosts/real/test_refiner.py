"""Refiner sync in a real WebUI.

Whether model and prompt change in the same call can't be seen from outside. But the numbers that the stored prompts get come
from the call at which the host itself changed the model: with them the host alone makes the same picture.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.hosts.real.client import Pictures, WebUi

OFF = {"refiner_sync": False}
MARKED = {"prompt": "[red:blue:refiner] house", "negative_prompt": "[dark:light:refiner], blurry"}
SAMPLERS = ("Euler", "Euler a", "DPM++ 2M", "DPM++ SDE", "Heun", "DPM2 a", "DDIM", "UniPC", "LCM", "Restart")
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "hr_second_pass_steps": 6}
FORGE = {"hr_additional_modules": ["Use same choices"], "hr_cfg": 5}


@pytest.fixture(scope="session")
def refiners(webui: WebUi) -> list[str]:
    """All checkpoints but the loaded one: of the same architecture and of others."""
    loaded = str(webui.get("/sdapi/v1/options")["sd_model_checkpoint"])
    others = [model["title"] for model in webui.get("/sdapi/v1/sd-models") if model["model_name"] not in loaded]
    small = [title for title in others if "tiny" in title] or others
    if not small:
        pytest.skip("there is one checkpoint only")
    return sorted(small)


def prompts_of(text: str) -> dict[str, str]:
    prompt, negative, *_ = text.split("\n")
    return {"prompt": prompt, "negative_prompt": negative.removeprefix("Negative prompt: ")}


def assert_reproducible(webui: WebUi, pictures: Pictures, **fields: Any) -> None:
    (text,) = pictures.texts
    assert "refiner]" not in text and "SDFM" not in text
    for sdfm in (OFF, None):
        assert webui.txt2img(sdfm, **{**fields, **prompts_of(text)}).pixels == pictures.pixels


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("by_steps", [False, True])
def test_the_host_alone_makes_the_same_picture_from_the_stored_prompts(
    webui: WebUi, refiners: list[str], sampler: str, by_steps: bool
):
    if webui.is_forge and by_steps:
        pytest.skip("Forge knows no other way")
    fields = {"refiner_checkpoint": refiners[0], "refiner_switch_at": 0.5, "sampler_name": sampler, "scheduler": "Automatic",
              "override_settings": {"refiner_switch_by_sample_steps": by_steps}}  # fmt: skip
    assert_reproducible(webui, webui.txt2img(**MARKED, **fields), **fields)


def test_with_every_other_checkpoint_and_guidance(webui: WebUi, refiners: list[str]):
    for refiner in refiners:
        fields = {"refiner_checkpoint": refiner, "refiner_switch_at": 0.5}
        plain = webui.txt2img(**MARKED, **fields)
        guided = webui.txt2img({"pag": {"scale": 3, "start_step": 5}}, **MARKED, **fields)  # steps of the second model only
        assert guided.pixels != plain.pixels, refiner


@pytest.mark.parametrize("which", ["first pass", "second pass", "both passes"])
def test_in_hires_passes(webui: WebUi, refiners: list[str], which: str):
    fields = {**HIRES, **(FORGE if webui.is_forge else {}), "refiner_checkpoint": refiners[0], "refiner_switch_at": 0.5,
              "override_settings": {"hires_fix_refiner_pass": which}}  # fmt: skip
    pictures = webui.txt2img(**MARKED, **fields)
    assert "refiner]" not in pictures.texts[0]
    if "Hires prompt" not in pictures.texts[0]:
        assert_reproducible(webui, pictures, **fields)


def test_several_batches_of_img2img(webui: WebUi, refiners: list[str]):
    """A1111 alone fails at the second batch: its sampler keeps the refiner's model."""
    pictures = webui.img2img(**MARKED, refiner_checkpoint=refiners[0], refiner_switch_at=0.5, n_iter=2)
    assert {text.split("\n")[0] for text in pictures.texts if "refiner]" in text} == set()


def test_from_the_start(webui: WebUi, refiners: list[str]):
    fields = {"refiner_checkpoint": refiners[0], "refiner_switch_at": 0.5}
    second = {"prompt": "blue house", "negative_prompt": "light, blurry"}
    ours = webui.txt2img({"refiner_sync": {"from_start": True}}, **MARKED, **fields)
    assert ours.pixels == webui.txt2img(OFF, **second, **{**fields, "refiner_switch_at": 0}).pixels
    assert "[red:blue:0] house" in ours.texts[0] and "Refiner Sync Start: True" in ours.texts[0]


@pytest.mark.parametrize("prompt", [MARKED["prompt"], "[red:blue:0.5] house", "[red:blue:refiner house"])
def test_without_a_refiner_nothing_is_touched(webui: WebUi, prompt: str):
    assert webui.txt2img(prompt=prompt) == webui.txt2img(OFF, prompt=prompt)
