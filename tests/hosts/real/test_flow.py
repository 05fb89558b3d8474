"""Flow matching in a real WebUI, with a checkpoint that has no idea of it: what holds whatever the UNet says."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from lib_sdfm.hosts.named_samplers import NAMED_SAMPLERS
from tests.hosts.real.client import Pictures, Refused, WebUi

ON = {"flow": {"shift": 3}}
EULER = {"sampler_name": "Euler", "scheduler": "Automatic", "steps": 6}
EQUAL = {"prompt": "a house", "negative_prompt": "a house", "cfg_scale": 1.5}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "hr_second_pass_steps": 4}
STRAIGHT = ("Euler CFG++", "DPM++ 2M CFG++")
SIZE = 128
GREY = np.array([90, 120, 150])
"""The colour of the picture from which img2img starts."""


@pytest.fixture(scope="module")
def flowing(webui: WebUi) -> Pictures:
    """Euler's picture with flow matching."""
    return webui.txt2img(ON, **EULER)


@pytest.fixture(autouse=True)
def nothing_stays(webui: WebUi, plain: Pictures) -> Iterator[None]:
    """After each test the plain picture is what it was."""
    yield
    assert webui.txt2img() == plain


def pixels(pictures: Pictures) -> np.ndarray:
    shape = (-1, 3)
    return np.frombuffer(pictures.pixels[0], np.uint8).reshape(shape).astype(int)


def farthest(one: Pictures, other: Pictures) -> int:
    """The largest difference, of 255."""
    return int(np.abs(pixels(one) - pixels(other)).max())


def is_picture(pictures: Pictures) -> bool:
    """Neither black, which the hosts make of NaN, nor all of one colour."""
    return float(pixels(pictures).std(axis=0).max()) > 1


def test_the_text_says_what_was_used(flowing: Pictures):
    assert "Flow Matching: On, Flow Shift: 3, Flow End: 0," in flowing.texts[0]


def test_it_changes_the_picture_and_the_shift_counts(webui: WebUi, flowing: Pictures):
    others = [webui.txt2img(settings, **EULER) for settings in (None, {"flow": {"shift": 6}}, {"flow": {"mode": "Off"}})]
    assert farthest(others[0], flowing) > 5 < farthest(others[1], flowing)
    assert others[2] == others[0]


METHODS = {
    "pag": {"sigma_to": 0.3}, "seg": {"sigma_from": 20}, "tpg": {}, "nag": {}, "apg": {}, "fdg": {"ratio": 2}, "cfg_zero": {},
    "mahiro": {}, "epsilon_scaling": {"factor": 1.03}, "adaptive_guidance": {"threshold": 0.2}, "cfgpp": {},
    "dynamic_thresholding": {"mimic_scale": 1}, "freeu": {},
}  # fmt: skip


@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DPM++ 2M", "DDIM"])
def test_each_method_with_it(webui: WebUi, sampler: str):
    settings = {**EULER, "sampler_name": sampler, "batch_size": 2, "override_settings": {"return_grid": False}}
    flowing = webui.txt2img(ON, **settings)
    for name, values in METHODS.items():
        guided = webui.txt2img({**ON, name: values}, **settings)
        assert is_picture(guided) and guided.difference(flowing) > 0.02, (name, guided.difference(flowing))
        assert "Flow Matching: On" in guided.texts[0]
        single = webui.txt2img({**ON, name: values}, **{**settings, "batch_size": 1, "seed": 6})
        one, other = (np.frombuffer(made, np.uint8).astype(int) for made in (single.pixels[0], guided.pixels[1]))
        assert np.abs(one - other).max() <= 2, name
    assert webui.txt2img(ON, **settings).pixels == flowing.pixels


@pytest.mark.parametrize("steps", [3, 20])  # UniPC refuses fewer
def test_every_sampler_makes_a_picture(webui: WebUi, steps: int):
    names = {entry["name"] for entry in webui.get("/sdapi/v1/samplers")}
    for sampler in sorted(names - {"DPM adaptive"}):  # its hundreds of calls depend on the checkpoint, not on the steps
        pictures = webui.txt2img(ON, **{**EULER, "sampler_name": sampler, "steps": steps})
        assert is_picture(pictures) and "Flow Matching: On" in pictures.texts[0], sampler


def test_every_schedule_makes_a_picture_or_is_refused_by_name(webui: WebUi):
    for entry in webui.get("/sdapi/v1/schedulers"):
        try:
            assert is_picture(webui.txt2img(ON, **{**EULER, "scheduler": entry["label"]})), entry
        except Refused as refused:
            assert refused.status == 422 and entry["label"].lower() in refused.text.lower()


@pytest.mark.parametrize("name", STRAIGHT)
def test_cfgpp_samplers_are_the_plain_ones_for_equal_prompts(webui: WebUi, name: str):
    named = webui.txt2img(ON, **{**EULER, **EQUAL, "sampler_name": name, "cfg_scale": 0.6})
    plain = webui.txt2img(ON, **{**EULER, **EQUAL, "sampler_name": name.removesuffix(" CFG++")})
    assert farthest(named, plain) <= 1


def test_every_cfgpp_sampler_is_guided(webui: WebUi):
    for named in NAMED_SAMPLERS:
        settings = {**EULER, "sampler_name": named.name}
        one, other = (webui.txt2img(ON, **{**settings, "cfg_scale": scale}) for scale in (0.3, 0.9))
        assert is_picture(one) and farthest(one, other) > 3, named.name


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "Heun", "DDIM"])
def test_hires_and_img2img(webui: WebUi, sampler: str):
    settings = {**EULER, "sampler_name": sampler}
    assert is_picture(webui.txt2img(ON, **settings, **HIRES))
    assert is_picture(webui.img2img(ON, **settings, denoising_strength=0.6))


def test_img2img_of_little_strength_keeps_the_picture(webui: WebUi):
    """With noise of the flow model's own levels; elsewise a random UNet would make something else of it."""
    settings = {**EULER, "steps": 40, "cfg_scale": 1}
    weak, strong = (webui.img2img(ON, **settings, denoising_strength=strength) for strength in (0.03, 0.9))
    none = webui.img2img(ON, **settings, denoising_strength=0)
    assert weak.difference(none) < strong.difference(none) / 2


def test_a_variation_seed_goes_from_one_picture_to_the_other(webui: WebUi, flowing: Pictures):
    none, half, whole = (webui.txt2img(ON, **EULER, subseed=77, subseed_strength=strength) for strength in (0.0, 0.5, 1.0))
    assert none.pixels == flowing.pixels != half.pixels
    assert farthest(whole, webui.txt2img(ON, **EULER, seed=77)) <= 1


def test_a_batch_is_its_pictures(webui: WebUi, flowing: Pictures):
    together = webui.txt2img(ON, **EULER, batch_size=2).pixels[-2:]
    for one, seed in zip(together, (5, 6)):
        assert farthest(Pictures([one], []), webui.txt2img(ON, **EULER, seed=seed)) <= 2
    assert len(flowing.pixels) == 1


def test_extra_noise_is_added(webui: WebUi):
    settings = {**EULER, "denoising_strength": 0.5}
    without, with_it = (
        webui.img2img(ON, **settings, override_settings={"img2img_extra_noise": amount}) for amount in (0.0, 0.5)
    )
    assert is_picture(with_it) and farthest(with_it, without) > 3


SOFT = {"Soft Inpainting": {"args": [{
    "Soft inpainting": True, "Schedule bias": 1, "Preservation strength": 0.5, "Transition contrast boost": 4,
    "Mask influence": 0, "Difference threshold": 0.5, "Difference contrast": 2,
}]}}  # fmt: skip


def middle_mask() -> str:
    """White in the middle."""
    mask, file = np.zeros((SIZE, SIZE), np.uint8), io.BytesIO()
    mask[40:90, 40:90] = 255
    Image.fromarray(mask).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M", "DDIM"])
def test_inpainting_changes_what_is_under_the_mask(webui: WebUi, sampler: str):
    settings = {**EULER, "sampler_name": sampler, "mask": middle_mask(), "denoising_strength": 0.8, "mask_blur": 2}
    made = pixels(webui.img2img(ON, **settings, inpainting_fill=1, inpaint_full_res=False)).reshape(SIZE, SIZE, 3)
    changed = np.abs(made - GREY).max(-1)
    assert changed[45:85, 45:85].mean() > 5
    changed[30:100, 30:100] = 0
    assert changed.max() <= 1


def test_soft_inpainting(a1111: WebUi):
    """It blends by how much each place has changed; under the mask something has."""
    settings = {**EULER, "mask": middle_mask(), "denoising_strength": 0.8, "mask_blur": 8, "inpainting_fill": 1}
    hard, soft = (a1111.img2img(ON, **settings, inpaint_full_res=False, **more) for more in ({}, {"alwayson_scripts": SOFT}))
    assert is_picture(soft) and farthest(soft, hard) > 3


@contextmanager
def watched(webui: WebUi) -> Iterator[list[str]]:
    """The live previews that the WebUI gives meanwhile."""
    seen, over = [], threading.Event()

    def ask() -> None:
        while not over.is_set():
            seen.append(webui.get("/sdapi/v1/progress").get("current_image") or "")
            time.sleep(0.2)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        over.set()
        asking.join()


def test_live_previews_change_nothing(webui: WebUi):
    settings = {**EULER, "steps": 20}
    previews = {"live_previews_enable": True, "show_progress_every_n_steps": 1, "show_progress_type": "Approx cheap"}
    with watched(webui) as seen:
        shown = webui.txt2img(ON, **settings, override_settings=previews)
    assert shown.pixels == webui.txt2img(ON, **settings).pixels
    assert any(seen) or webui.is_forge


class TestRefiner:
    """The refiner is no flow model: it knows noise levels up to 14.6."""

    def refined(self, webui: WebUi, refiner: str, at: float, **more: object) -> Pictures:
        fields = {"refiner_checkpoint": refiner, "refiner_switch_at": at, "override_settings": webui.by_steps}
        return webui.txt2img(ON, **{**EULER, "steps": 12, **more, **fields})

    def test_late_it_takes_over(self, webui: WebUi, refiner: str):
        pictures = self.refined(webui, refiner, 0.8)
        assert is_picture(pictures)
        assert farthest(pictures, webui.txt2img(ON, **{**EULER, "steps": 12})) > 0

    def test_with_a_synced_prompt(self, webui: WebUi, refiner: str):
        prompt = {"prompt": "[red:blue:refiner] house"}
        assert "refiner]" not in self.refined(webui, refiner, 0.8, **prompt).texts[0]

    def test_early_it_is_refused_by_name(self, webui: WebUi, refiner: str):
        with pytest.raises(Refused, match="refiner is not a flow model") as caught:
            self.refined(webui, refiner, 0.01)
        assert caught.value.status == 422

    @pytest.mark.parametrize("sampler", ["DDIM", "UniPC"])
    def test_samplers_of_timesteps_are_refused_by_name(self, webui: WebUi, refiner: str, sampler: str):
        with pytest.raises(Refused, match=f"{sampler} can't switch between"):
            self.refined(webui, refiner, 0.8, sampler_name=sampler)

    def test_a_flow_model_as_refiner(self, webui: WebUi, refiner: str):
        """It is one because that is remembered."""
        first = webui.get("/sdapi/v1/options")["sd_model_checkpoint"]
        fields = {**EULER, "steps": 12, "refiner_checkpoint": refiner, "override_settings": webui.by_steps}
        late, early = ({**fields, "refiner_switch_at": at} for at in (0.8, 0.3))
        ordinary = webui.txt2img(**late)
        self.remember(webui, refiner, first, "On")
        try:
            flowing = [webui.txt2img(**late), webui.txt2img(**early)]
        finally:
            self.remember(webui, refiner, first, "Auto")
        assert all(is_picture(pictures) for pictures in flowing) and farthest(flowing[0], ordinary) > 0
        assert webui.txt2img(**late) == ordinary

    def remember(self, webui: WebUi, checkpoint: str, first: str, mode: str) -> None:
        webui.txt2img(
            **EULER, override_settings={"sd_model_checkpoint": checkpoint}, override_settings_restore_afterwards=False
        )
        webui.post("/sdfm/v1/flow", {"mode": mode, "shift": 3})
        webui.txt2img(**EULER, override_settings={"sd_model_checkpoint": first}, override_settings_restore_afterwards=False)

    @pytest.fixture
    def refiner(self, another_checkpoint: str) -> str:
        return another_checkpoint


@pytest.mark.parametrize("shift", [0, -1, 0.05, 101, "x", None, True])
def test_a_shift_that_can_t_be_is_refused_by_name(webui: WebUi, shift: object):
    with pytest.raises(Refused, match="Flow [Ss]hift") as caught:
        webui.txt2img({"flow": {"shift": shift}})
    assert caught.value.status == 422


def test_the_checkpoint_is_looked_at(webui: WebUi, flowing: Pictures):
    """Its kind is unknown; but the answer is one, and looking at it changes nothing."""
    found = webui.get("/sdfm/v1/flow")
    assert found["flow"] in (True, False, None) and found["why"] and found["remembered"] is None
    assert webui.txt2img(ON, **EULER).pixels == flowing.pixels
    assert webui.get("/sdfm/v1/flow") == found
