"""The WebUI's own scripts, soft inpainting and attention optimisations beside guidance in a real WebUI."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import pytest
from PIL import Image, ImageDraw

from tests.hosts.real.client import A1111, NEO, Pictures, Refused, WebUi
from tests.hosts.real.test_flow import is_picture

PAG = {"pag": {"scale": 2}}
EVERY_ATTENTION = {"pag": {"scale": 2}, "seg": {"blur": 2}, "freeu": {}}
FAST = {"steps": 3, "sampler_name": "Euler", "scheduler": "Automatic"}
LINES = 'a tree\n--prompt "a hill" --steps 2\nred --cfg_scale 3'
OF_BOTH_TABS = {
    "prompts from file or textbox": [False, False, "start", LINES],
    "prompt matrix": [False, False, "positive", "comma", 0],
}
OF_IMG2IMG = {"loopback": [2, 0.5, "Linear", "None"], "sd upscale": ["", 16, "Lanczos", 2.0]}
OF_NEO = {"sd upscale": [16, "None", 2.0, False]}
SOFT = {"Soft Inpainting": {"args": [True, 1, 0.5, 4, 0, 0.5, 2]}}


def script(name: str, args: list) -> dict:
    return {**FAST, "script_name": name, "script_args": args}


def assert_guided(guided: Pictures, plain: Pictures) -> None:
    assert len(guided.pixels) == len(plain.pixels)
    assert [one != other for one, other in zip(guided.pixels, plain.pixels)] == [True] * len(plain.pixels)
    assert all("PAG Active: True" in text for text in guided.texts)


@pytest.mark.parametrize("name", OF_BOTH_TABS)
def test_each_picture_of_a_script_is_guided(webui: WebUi, name: str):
    fields = {**script(name, OF_BOTH_TABS[name]), "prompt": "a house|blue"}
    assert_guided(webui.txt2img(PAG, **fields), webui.txt2img(**fields))


@pytest.mark.parametrize("name", OF_IMG2IMG)
def test_each_picture_of_an_img2img_script_is_guided(webui: WebUi, name: str):
    args = OF_IMG2IMG[name] if webui.host != NEO else OF_NEO.get(name, OF_IMG2IMG[name])
    fields = script(name, args)
    assert_guided(webui.img2img(PAG, **fields), webui.img2img(**fields))


def test_a_script_with_a_sampler_of_its_own_is_refused(webui: WebUi):
    name = "img2img alternative test"
    if name not in webui.get("/sdapi/v1/scripts")["img2img"]:
        pytest.skip(f"{webui.host} has no script {name}")
    fields = script(name, ["", True, True, "a house", "", True, 3, True, 1.0, 0.0, False])
    with pytest.raises(Refused, match="sampled without SDFM") as caught:
        webui.img2img(PAG, **fields)
    assert caught.value.status == 422
    assert webui.img2img(**fields).pixels


def mask() -> str:
    """A grey disc with a white one inside."""
    picture, buffer = Image.new("L", (128, 128)), io.BytesIO()
    ImageDraw.Draw(picture).ellipse((16, 16, 112, 112), fill=150)
    ImageDraw.Draw(picture).ellipse((40, 40, 88, 88), fill=255)
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
@pytest.mark.parametrize(
    "request_", [EVERY_ATTENTION, {"cfgpp": {}}, {"dynamic_thresholding": {"mimic_scale": 2}}, {"flow": {}}], ids="+".join
)
def test_soft_inpainting_is_guided(webui: WebUi, sampler: str, request_: dict):
    fields = {**FAST, "sampler_name": sampler, "mask": mask(), "inpainting_fill": 1, "alwayson_scripts": SOFT}
    plain, guided = webui.img2img(**fields), webui.img2img(request_, **fields)
    assert "Soft inpainting enabled: True" in plain.texts[0]
    if webui.host != A1111 and not is_picture(plain):
        pytest.skip(f"soft inpainting of {webui.host} gives the grey picture back, with SDFM and without")
    assert guided.difference(plain) > 1
    assert webui.img2img(**fields).difference(plain) < 0.5


@pytest.fixture
def optimisation(a1111: WebUi) -> Iterator[str]:
    """The name of the option, put back afterwards."""
    name = "cross_attention_optimization"
    before = a1111.get("/sdapi/v1/options")[name]
    yield name
    a1111.post("/sdapi/v1/options", {name: before})


@pytest.mark.parametrize(
    "settings",
    [{}, {"override_settings": {"hypertile_enable_unet": True, "hypertile_max_tile_unet": 64}},
     {"override_settings": {"token_merging_ratio": 0.5}}],
    ids=["alone", "HyperTile", "token merging"],
)  # fmt: skip
def test_all_attention_optimisations_give_the_same_picture(a1111: WebUi, optimisation: str, settings: dict):
    fields = {**FAST, **settings, "width": 168, "height": 200}
    plain, guided = [], []
    for value in ("sdp - scaled dot product", "sub-quadratic", "V1 - original v1", "InvokeAI", "Doggettx", "None"):
        a1111.post("/sdapi/v1/options", {optimisation: value})
        plain.append(a1111.txt2img(**fields))
        guided.append(a1111.txt2img(EVERY_ATTENTION, **fields))
    for pictures in (plain, guided):
        assert max(other.difference(pictures[0]) for other in pictures) < 0.1
    assert guided[0].difference(plain[0]) > 1
