"""Refiner sync in a real WebUI.

Whether model and prompt change in the same call can't be seen from outside. But the numbers that the stored prompts get come
from the call at which the host itself changed the model: with them the host alone makes the same picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.hosts.real.client import FORGE, NEO, REFORGE, Pictures, Refused, WebUi

OFF = {"refiner_sync": False}
MARKED = {"prompt": "[red:blue:refiner] house", "negative_prompt": "[dark:light:refiner], blurry"}
SAMPLERS = ("Euler", "Euler a", "DPM++ 2M", "DPM++ SDE", "Heun", "DPM2 a", "DDIM", "UniPC", "LCM", "Restart")
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "hr_second_pass_steps": 6}
OF_FORGE = {"hr_additional_modules": ["Use same choices"], "hr_cfg": 5}
LATE = (
    {"pag": {"scale": 3, "start_step": 5}},
    {"seg": {"scale": 3, "start_step": 5}},
    {"recipe": "original", "pag": {"scale": 2, "start_step": 6, "sanf": True}},
    {"pag": {"scale": 2, "start_step": 5, "layers": "middle, output.3"}, "seg": {"blur": 2, "start_step": 5}},
)
"""Guidance at steps of the second model only: the switch is half-way of the model's time, which is before."""
RULES = pytest.mark.parametrize("by_steps", [False, True], ids=["by the model's time", "by steps"])


@pytest.fixture(scope="session")
def small_checkpoints(loaded: str, refiners: list[str]) -> list[str]:
    """The loaded checkpoint, then the others: of the same architecture and of others."""
    return [loaded, *refiners]


@pytest.fixture(scope="session")
def refiner(small_checkpoints: list[str]) -> str:
    return small_checkpoints[1]


@pytest.fixture(scope="session")
def pairs(small_checkpoints: list[str]) -> list[tuple[str, str]]:
    """Checkpoint and refiner: there and back between the loaded one and each other."""
    loaded, *others = small_checkpoints
    return [pair for other in others for pair in ((loaded, other), (other, loaded))]


@pytest.fixture
def settings(webui: WebUi, by_steps: bool) -> dict[str, Any]:
    """The host's settings for its rule."""
    if webui.host == NEO:  # the other rule is its noise level
        return {"refiner_use_steps": by_steps}
    if webui.host in (FORGE, REFORGE) and by_steps:
        pytest.skip(f"{webui.host} knows no other way")
    return {"refiner_switch_by_sample_steps": by_steps}


def prompts_of(text: str) -> dict[str, str]:
    prompt, negative, *_ = text.split("\n")
    return {"prompt": prompt, "negative_prompt": negative.removeprefix("Negative prompt: ")}


def assert_same(webui: WebUi, one: list[bytes], other: list[bytes]) -> None:
    """Forge's SDXL text encoder rounds by how many texts it gets at once: prompt editing by numbers gives it two."""
    pairs = [(np.frombuffer(a, np.uint8).astype(int), np.frombuffer(b, np.uint8)) for a, b in zip(one, other)]
    assert len(one) == len(other) and max(np.abs(a - b).max() for a, b in pairs) <= (1 if webui.is_forge else 0)


def assert_reproducible(webui: WebUi, pictures: Pictures, sdfm: Any = None, **fields: Any) -> None:
    """The stored prompts make the same picture, with our refiner sync and without."""
    (text,) = pictures.texts
    assert "refiner]" not in text and "Refiner Sync" not in text and ("SDFM" in text) == (sdfm is not None)
    for request in ({**(sdfm or {}), **OFF}, sdfm):
        assert_same(webui, webui.txt2img(request, **{**fields, **prompts_of(text)}).pixels, pictures.pixels)


@pytest.mark.parametrize("sampler", SAMPLERS)
@RULES
def test_the_host_alone_makes_the_same_picture_from_the_stored_prompts(
    webui: WebUi, refiner: str, sampler: str, settings: dict[str, Any]
):
    fields = {"refiner_checkpoint": refiner, "refiner_switch_at": 0.5, "sampler_name": sampler, "scheduler": "Automatic",
              "override_settings": settings}  # fmt: skip
    assert_reproducible(webui, webui.txt2img(**MARKED, **fields), **fields)


def test_dpm_adaptive_keeps_the_word(webui: WebUi, refiner: str):
    """It makes more calls than the host expects, past which prompt editing goes back: no number can say it."""
    fields = {
        "refiner_checkpoint": refiner,
        "refiner_switch_at": 0.5,
        "sampler_name": "DPM adaptive",
        "width": 64,
        "height": 64,
    }
    made = webui.txt2img(**MARKED, **fields)
    assert prompts_of(made.texts[0]) == MARKED and "Refiner Sync: True" in made.texts[0]
    if not webui.is_forge:
        assert webui.pasted(made.texts[0]).pixels == made.pixels


class TestPairs:
    """Of one architecture, and of two."""

    @RULES
    def test_the_prompt_follows(self, webui: WebUi, pairs: list[tuple[str, str]], settings: dict[str, Any]):
        for checkpoint, refiner in pairs:
            fields = {"refiner_checkpoint": refiner, "refiner_switch_at": 0.5,
                      "override_settings": {**settings, "sd_model_checkpoint": checkpoint}}  # fmt: skip
            assert_reproducible(webui, webui.txt2img(**MARKED, **fields), **fields)

    def test_guidance_goes_on(self, webui: WebUi, pairs: list[tuple[str, str]]):
        for checkpoint, refiner in pairs:
            fields = {"refiner_checkpoint": refiner, "refiner_switch_at": 0.4,
                      "override_settings": {"sd_model_checkpoint": checkpoint}}  # fmt: skip
            plain = webui.txt2img(**MARKED, **fields)
            guided = [webui.txt2img(request, **MARKED, **fields) for request in LATE]
            assert all(pictures.pixels != plain.pixels for pictures in guided), (checkpoint, refiner)
            assert_reproducible(webui, guided[-1], LATE[-1], **fields)
            assert webui.txt2img(**MARKED, **fields).pixels == plain.pixels

    def test_layers_that_the_second_model_lacks_are_named(self, webui: WebUi, plain: Pictures, pairs: list[tuple[str, str]]):
        """SDXL's middle block is deeper than that of Stable Diffusion 1."""

        def is_refused(checkpoint: str, **fields: Any) -> bool:
            settings = {"sd_model_checkpoint": checkpoint}
            try:
                webui.txt2img({"pag": {"layers": "middle.1"}}, **MARKED, **fields, override_settings=settings)
            except Refused as refused:
                assert refused.status == 422 and "middle" in refused.text
                return True
            return False

        knows = {checkpoint: not is_refused(checkpoint) for checkpoint in {checkpoint for checkpoint, _ in pairs}}
        lacking = [(one, other) for one, other in pairs if knows[one] and not knows[other]]
        if not lacking:
            pytest.skip("no checkpoint has a deeper middle block than another")
        for checkpoint, refiner in lacking:
            assert is_refused(checkpoint, refiner_checkpoint=refiner, refiner_switch_at=0.5)
        assert webui.txt2img().pixels == plain.pixels


@RULES
@pytest.mark.parametrize("which", ["first pass", "second pass", "both passes"])
def test_in_hires_passes(webui: WebUi, refiner: str, which: str, settings: dict[str, Any]):
    fields = {**HIRES, **(OF_FORGE if webui.is_forge else {}), "refiner_checkpoint": refiner, "refiner_switch_at": 0.5,
              "override_settings": {"hires_fix_refiner_pass": which, **settings}}  # fmt: skip
    pictures = webui.txt2img(**MARKED, **fields)
    assert "refiner]" not in pictures.texts[0]
    if "Hires prompt" not in pictures.texts[0]:  # one number means both passes
        assert_reproducible(webui, pictures, **fields)


def test_several_batches_of_img2img(webui: WebUi, refiner: str):
    """A1111 alone fails at the second batch: its sampler keeps the refiner's model."""
    pictures = webui.img2img(**MARKED, refiner_checkpoint=refiner, refiner_switch_at=0.5, n_iter=2)
    assert {text.split("\n")[0] for text in pictures.texts if "refiner]" in text} == set()


def test_from_the_start(webui: WebUi, refiner: str):
    fields = {"refiner_checkpoint": refiner, "refiner_switch_at": 0.5}
    second = {"prompt": "blue house", "negative_prompt": "light, blurry"}
    ours = webui.txt2img({"refiner_sync": {"from_start": True}}, **MARKED, **fields)
    alone = {**fields, "refiner_switch_at": 0}
    if webui.host == NEO:  # there 0 means that there is no refiner
        alone = {"override_settings": {"sd_model_checkpoint": refiner}}
    assert ours.pixels == webui.txt2img(OFF, **second, **alone).pixels
    assert "[red:blue:0] house" in ours.texts[0] and "Refiner Sync Start: True" in ours.texts[0]


@pytest.mark.parametrize("prompt", [MARKED["prompt"], "[red:blue:0.5] house", "[red:blue:refiner house"])
def test_without_a_refiner_nothing_is_touched(webui: WebUi, prompt: str):
    assert webui.txt2img(prompt=prompt) == webui.txt2img(OFF, prompt=prompt)


class TestTextsAlone:
    """A pasted text makes the same picture again, also that of a switch for which there is no number."""

    @pytest.mark.parametrize("sdfm", [None, {"refiner_sync": {"from_start": True}}, LATE[0]], ids=str)
    @pytest.mark.parametrize("fields", [{}, {"sampler_name": "Heun", **HIRES}], ids=["plain", "hires"])
    def test_pasted(self, reader: WebUi, refiner: str, sdfm: Any, fields: dict[str, Any]):
        made = reader.txt2img(sdfm, **MARKED, **fields, refiner_checkpoint=refiner, refiner_switch_at=0.5)
        assert reader.pasted(made.texts[0]).pixels == made.pixels


class TestWhereverPromptsComeFrom:
    FIELDS = {"refiner_switch_at": 0.5, "sampler_name": "Euler", "scheduler": "Automatic"}

    def alone(self, webui: WebUi, refiner: str, text: str, **fields: Any) -> list[bytes]:
        """The picture of a text's prompts, by the host alone."""
        return webui.txt2img(OFF, refiner_checkpoint=refiner, **{**self.FIELDS, **fields, **prompts_of(text)}).pixels

    def test_a_plot(self, webui: WebUi, refiner: str):
        fields = webui.plot_of("Refiner switch at", "0.3, 0.6")
        made = webui.txt2img(**{**MARKED, **self.FIELDS, **fields}, refiner_checkpoint=refiner)
        for switch_at, pixels, text in zip((0.3, 0.6), made.pixels[-2:], made.texts[-2:]):
            assert "refiner]" not in text
            assert_same(webui, self.alone(webui, refiner, text, refiner_switch_at=switch_at), [pixels])

    def test_prompts_from_a_text_box(self, webui: WebUi, refiner: str):
        lines = f'{MARKED["prompt"]}\n--prompt "a [tree:hill:refiner]" --negative_prompt "[dark:light:refiner]"'
        script = {"script_name": "prompts from file or textbox", "script_args": [False, False, "start", lines]}
        made = webui.txt2img(**script, refiner_checkpoint=refiner, **self.FIELDS, prompt="", negative_prompt="blurry")
        assert "refiner]" not in "".join(made.texts)
        for pixels, text in zip(made.pixels[-2:], made.texts[-2:]):  # Forge makes a grid too
            assert_same(webui, self.alone(webui, refiner, text), [pixels])

    def test_styles(self, webui: WebUi, refiner: str):
        styles = [style["name"] for style in webui.get("/sdapi/v1/prompt-styles") if "refiner]" in str(style["prompt"])]
        if not styles:
            pytest.skip("no prompt style with [from:to:refiner] is saved in this WebUI")
        made = webui.txt2img(styles=styles[:1], refiner_checkpoint=refiner, **self.FIELDS)
        assert "refiner]" not in made.texts[0]
        assert_same(webui, self.alone(webui, refiner, made.texts[0]), made.pixels)
