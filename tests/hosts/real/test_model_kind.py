"""Model kinds in a real WebUI, with a checkpoint that is an ordinary one: what holds whatever the UNet says."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.hosts.real.client import Pictures, Refused, WebUi
from tests.hosts.real.test_flow import EULER, HIRES, farthest, is_picture

V = "v-prediction"
PLAIN, ZERO = ({"model": {"kind": V, "zero_terminal_snr": zero}} for zero in (False, True))
USUAL = {"sd_noise_schedule": "Default", "use_downcasted_alpha_bar": False}
RESCALED = {"sd_noise_schedule": "Zero Terminal SNR"}
OPTIONS = {"live_previews_enable": True, "show_progress_every_n_steps": 1, "show_progress_type": "Approx cheap"}


@pytest.fixture(autouse=True)
def nothing_stays(webui: WebUi, plain: Pictures) -> Iterator[None]:
    """After each test the plain picture is what it was; the options that tests override are reset."""
    yield
    assert webui.txt2img(override_settings={name: usual for name, usual in USUAL.items() if name in webui.options}) == plain


def test_the_texts_say_how_it_was_sampled(webui: WebUi):
    assert f"Model Kind: {V}, SDFM: 1" in webui.txt2img(PLAIN, **EULER).texts[0]
    assert f"Model Kind: {V}, Zero Terminal SNR: True, SDFM: 1" in webui.txt2img(ZERO, **EULER).texts[0]


def test_each_is_another_picture(webui: WebUi):
    made = [webui.txt2img(asked, **EULER) for asked in (None, PLAIN, ZERO)]
    assert all(is_picture(pictures) for pictures in made)
    assert all(farthest(one, other) > 5 for one, other in (made[:2], made[1:], made[::2]))


def test_every_sampler_makes_a_picture(webui: WebUi):
    names = {sampler for sampler in webui.samplers if not webui.is_for_flow(sampler)}
    for sampler in sorted(names - {"DPM adaptive"}):  # its hundreds of calls depend on the checkpoint, not on the steps
        scale = {"cfg_scale": 0.6} if "CFG++" in sampler else {}
        pictures = webui.txt2img(ZERO, **{**EULER, **scale, "sampler_name": sampler})
        assert is_picture(pictures) and V in pictures.texts[0], sampler


def test_every_schedule_makes_a_picture(webui: WebUi):
    for entry in webui.get("/sdapi/v1/schedulers"):
        if entry["name"] not in ("turbo", "align_your_steps_32"):
            assert is_picture(webui.txt2img(ZERO, **{**EULER, "scheduler": entry["label"]})), entry


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DDIM", "LCM"])
def test_hires_img2img_and_previews(webui: WebUi, sampler: str):
    settings = {**EULER, "sampler_name": sampler, "override_settings": OPTIONS}
    assert is_picture(webui.txt2img(ZERO, **settings, **HIRES))
    assert is_picture(webui.img2img(ZERO, **settings, denoising_strength=0.6))


def test_inpainting(a1111: WebUi):
    """Forge's draws its noise from the global generator."""
    mask = io.BytesIO()
    Image.new("L", (128, 128), 255).save(mask, "PNG")
    masked = {"mask": base64.b64encode(mask.getvalue()).decode(), "inpainting_fill": 1, "denoising_strength": 0.7}
    for sampler in ("Euler", "DDIM"):
        assert is_picture(a1111.img2img(ZERO, **{**EULER, "sampler_name": sampler}, **masked))


def test_the_webui_s_own_option_counts_as_the_switch(a1111: WebUi):
    wanted = a1111.txt2img(ZERO, **EULER)
    for asked in (PLAIN, ZERO):
        assert farthest(a1111.txt2img(asked, **EULER, override_settings=RESCALED), wanted) <= 1
    assert a1111.txt2img(ZERO, **EULER, override_settings=USUAL).pixels == wanted.pixels


def test_half_precision_of_the_table_is_refused_for_zero_terminal_snr(a1111: WebUi):
    halved = {"use_downcasted_alpha_bar": True}
    with pytest.raises(Refused, match="Downcast") as caught:
        a1111.txt2img(ZERO, **EULER, override_settings=halved)
    assert caught.value.status == 422
    assert is_picture(a1111.txt2img(PLAIN, **EULER, override_settings=halved))


@pytest.mark.parametrize("asked, named", [
    ({"model": {"kind": "v"}}, "model.kind"), ({"model": {"kind": "Noise", "zero_terminal_snr": True}}, "zero_terminal_snr"),
    ({"model": {"zero_terminal_snr": True}}, "zero_terminal_snr"), ({**PLAIN, "flow": {}}, "contradict"),
    ({"model": {"kind": "Flow matching"}, "flow": {"mode": "Off"}}, "contradict"), ({"model": {"shift": 3}}, "model.shift"),
])  # fmt: skip
def test_what_can_t_be_is_refused_by_name(webui: WebUi, asked: dict, named: str):
    with pytest.raises(Refused, match=named) as caught:
        webui.txt2img(asked)
    assert caught.value.status == 422


def test_remembered_it_needs_no_setting(webui: WebUi):
    wanted = webui.txt2img(ZERO, **EULER)
    webui.post("/sdfm/v1/model", {"kind": V, "zero_terminal_snr": True})
    try:
        assert webui.txt2img(**EULER) == wanted
        ordinary = webui.txt2img({"model": {"kind": "Noise"}}, **EULER)
        assert "Model Kind: Noise" in ordinary.texts[0]
    finally:
        webui.post("/sdfm/v1/flow", {"mode": "Auto", "shift": 3})
    plain = webui.txt2img(**EULER)
    assert "Model Kind" not in plain.texts[0] and plain.pixels == ordinary.pixels


def test_detect_reads_the_marks_of_a_file(a1111: WebUi):
    """Forge loads a checkpoint only for its first picture."""
    marked = [model["title"] for model in a1111.get("/sdapi/v1/sd-models") if "vpred" in model["model_name"]]
    if not marked:
        pytest.skip("no checkpoint has vpred in its name")
    before = a1111.get("/sdapi/v1/options")["sd_model_checkpoint"]
    try:
        for title in marked:
            a1111.post("/sdapi/v1/options", {"sd_model_checkpoint": title})
            said = a1111.get("/sdfm/v1/model")
            assert (said["kind"], said["zero_terminal_snr"]) == (V, True) and "v_pred and ztsnr" in said["why"]
    finally:
        a1111.post("/sdapi/v1/options", {"sd_model_checkpoint": before})


class TestRefiner:
    def refined(self, webui: WebUi, asked: dict | None, refiner: str, at: float, **more: object) -> Pictures:
        fields = {"refiner_checkpoint": refiner, "refiner_switch_at": at, "override_settings": webui.by_steps}
        return webui.txt2img(asked, **{**EULER, "steps": 12, **more, **fields})

    def test_an_ordinary_refiner_takes_over_late(self, webui: WebUi, another_checkpoint: str):
        assert is_picture(self.refined(webui, ZERO, another_checkpoint, 0.8))
        assert is_picture(self.refined(webui, PLAIN, another_checkpoint, 0.3, sampler_name="DDIM"))

    def test_what_can_t_be_is_refused_by_name(self, webui: WebUi, another_checkpoint: str):
        with pytest.raises(Refused, match="ordinary noise table"):
            self.refined(webui, ZERO, another_checkpoint, 0.01)
        with pytest.raises(Refused, match="DDIM can't switch between"):
            self.refined(webui, ZERO, another_checkpoint, 0.8, sampler_name="DDIM")
