"""SDFM beside other extensions in a real WebUI that has them: each alone, with techniques that do nothing, and with PAG.

Counting extensions (NegPiP, Regional Prompter) count on 16 cross-attention layers, 70 with SDXL: with a checkpoint of others
they are refused by name as soon as the prompts' lengths differ. Load one with the layout of Stable Diffusion 1.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.hosts.real.client import Pictures, Refused, WebUi
from tests.hosts.real.test_nag import largest

SMALL = {"sampler_name": "Euler", "scheduler": "Automatic", "steps": 3, "width": 128, "height": 128, "cfg_scale": 6}
NEUTRAL = {
    "PAG": {"pag": {"scale": 1e-6}},
    "PAG and SEG": {"pag": {"scale": 1e-6}, "seg": {"scale": 1e-6}},
    "TPG": {"tpg": {"scale": 1e-6, "layers": "middle"}},
    "FreeU": {"freeu": {f"stage{i}_{what}": 1 for i in (1, 2, 3) for what in ("backbone", "skip")}},
    "APG": {"apg": {"eta": 1, "norm_threshold": 0, "momentum": 0}},
    "NAG": {"nag": {"alpha": 0}},
}
"""Settings with which a technique does all its work, and changes nothing."""
LONG = ", ".join(["blurry"] * 50)
REGIONS = {"prompt": "a castle BREAK a blue boat", "negative_prompt": "blurry"}
NEGATIVE = {"prompt": "a castle, (blue boat:-1.4)", "negative_prompt": "blurry"}


def _noise() -> str:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def _regional(mode: str) -> dict[str, Any]:
    args = [True, False, "Matrix", "Columns", "Mask", "Prompt", "1,1", "0.2", False, False, False, mode, [], "0", "0", "0"]
    return {"Regional Prompter": {"args": [*args, "", "0", "0", False]}}


def _reference(module: str) -> dict[str, Any]:
    unit = {"enabled": True, "module": module, "model": "None", "image": _noise(), "weight": 1.0, "threshold_a": 0.5}
    return {"ControlNet": {"args": [unit]}}


KOHYA = {"Kohya Hires.fix": {"args": [True, True, 3, 4, 0.5, 0.5, "bicubic", 0.5, 2.0, True, False]}}
PERPENDICULAR = "a red castle AND_PERP a blue boat :1.5"
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "NegPiP": ({"NegPiP": {"args": [True]}}, NEGATIVE),
    "NegPiP, long negative prompt": ({"NegPiP": {"args": [True]}}, {**NEGATIVE, "negative_prompt": LONG}),
    "NegPiP at CFG 1": ({"NegPiP": {"args": [True]}}, {**NEGATIVE, "negative_prompt": LONG, "cfg_scale": 1}),
    "Regional Prompter": (_regional("Attention"), REGIONS),
    "Regional Prompter, unequal": (_regional("Attention"), {**REGIONS, "negative_prompt": LONG}),
    "Regional Prompter, latent": (_regional("Latent"), REGIONS),
    "Kohya Hires.fix": (KOHYA, {"width": 256, "height": 256}),
    "ControlNet reference_only": (_reference("reference_only"), {}),
    "ControlNet reference_adain": (_reference("reference_adain"), {}),
    "ControlNet reference_adain+attn": (_reference("reference_adain+attn"), {}),
    "Neutral Prompt": ({"Neutral Prompt": {"args": [0]}}, {"prompt": PERPENDICULAR}),
    "Neutral Prompt, rescaled": ({"Neutral Prompt": {"args": [0.5]}}, {"prompt": PERPENDICULAR}),
    "Detail Daemon": ({"Detail Daemon": {"args": [True, True, False, "both", 0.2, 0.8, 0.5, 0.8]}}, {}),
    "Tiled Diffusion": (
        {"Tiled Diffusion": {"args": [True, "MultiDiffusion", False, True, 256, 256, 16, 16, 8, 1, "None", 2.0]}},
        {"width": 256, "height": 256},
    ),
    "Tiled VAE": ({"Tiled VAE": {"args": [True, 256, 32, True, True, True, False]}}, {"width": 512, "height": 512}),
    "Cutoff": ({"Cutoff": {"args": [True, "blue", 2.0]}}, {"prompt": "a castle, blue boat"}),
}
"""For each extension its arguments, and the request that it acts in."""


@pytest.fixture(scope="module", autouse=True)
def no_cache_of_prompts(webui: WebUi) -> Iterator[None]:
    """Let the WebUI encode prompts anew in each job: Neutral Prompt reads them while they are encoded, and fails otherwise.

    (Of the same prompt plain, with Regional Prompter's latent mode and plain again, the last is an error, SDFM or not.)
    """
    before = webui.options["persistent_cond_cache"]
    webui.post("/sdapi/v1/options", {"persistent_cond_cache": False})
    webui.txt2img()  # drops what is cached
    yield
    webui.post("/sdapi/v1/options", {"persistent_cond_cache": before})


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, a1111: WebUi) -> tuple[dict[str, Any], dict[str, Any]]:
    scripts, settings = CASES[request.param]
    installed = {info["name"] for info in a1111.get("/sdapi/v1/script-info")}
    missing = [title for title in scripts if title.lower() not in installed]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return scripts, settings


def made(webui: WebUi, sdfm: dict | None, scripts: dict[str, Any], **request: Any) -> Pictures:
    return webui.txt2img(sdfm, alwayson_scripts=scripts, **{**SMALL, **request})


@pytest.mark.parametrize("images", [1, 3])
def test_beside_an_extension(a1111: WebUi, case: tuple[dict[str, Any], dict[str, Any]], images: int):
    scripts, settings = case
    settings = {**settings, "batch_size": images}
    plain = made(a1111, None, {}, **settings)
    try:
        alone = made(a1111, None, scripts, **settings)
    except Refused as error:
        assert made(a1111, None, {}, **settings).pixels == plain.pixels, "its own failure leaves its things in the model"
        pytest.skip(f"it fails alone with this checkpoint: {error.text[:200]}")
    assert "Neutral Prompt" in scripts or alone.difference(plain) > 0.1, "it has no effect alone"  # that one is always on
    wrong = {}
    same_scale = {"dynamic_thresholding": {"mimic_scale": settings.get("cfg_scale", SMALL["cfg_scale"])}}
    for name, neutral in {**NEUTRAL, "thresholding": same_scale}.items():
        try:
            distance = largest(made(a1111, neutral, scripts, **settings), alone)
        except Refused as error:
            assert error.status == 422
            distance = 0 if any(title in error.text for title in ("sd-webui", "multidiffusion", "rows where")) else error.text
        if distance != 0 and distance != 1:
            wrong[name] = distance
    assert not wrong
    assert made(a1111, None, scripts, **settings).pixels == alone.pixels
    assert made(a1111, None, {}, **settings).pixels == plain.pixels


def test_pag_and_the_extension_both_act_and_are_written(a1111: WebUi, case: tuple[dict[str, Any], dict[str, Any]]):
    scripts, settings = case
    plain = made(a1111, None, {}, **settings)
    try:
        alone, both = made(a1111, None, scripts, **settings), made(a1111, {"pag": {"scale": 4}}, scripts, **settings)
    except Refused as error:
        pytest.skip(error.text[:200])
    assert both.difference(alone) > 0.1
    assert "Neutral Prompt" in scripts or both.difference(made(a1111, {"pag": {"scale": 4}}, {}, **settings)) > 0.1
    assert "PAG Scale: 4" in both.texts[0]
    assert made(a1111, None, {}, **settings).pixels == plain.pixels


def test_an_error_of_ours_leaves_nothing_of_the_extension(a1111: WebUi, case: tuple[dict[str, Any], dict[str, Any]]):
    scripts, settings = case
    plain = made(a1111, None, {}, **settings)
    with pytest.raises(Refused, match="output block 99"):
        made(a1111, {"pag": {"layers": "output.99"}}, scripts, **settings)
    assert made(a1111, None, {}, **settings).pixels == plain.pixels


def test_explain_tells_who_has_changed_the_unet(a1111: WebUi):
    told = a1111.post("/sdfm/v1/explain", {"infotext": "a\nSteps: 4"})["whole_passes"]
    assert set(told) == {"changed_by", "last"}
