"""reForge: SDFM's techniques against its built-in scripts and samplers, and what both can't do at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.hosts.real.client import REFORGE, Pictures, Refused, WebUi

NEAR = 2
"""Of 255."""
EULER = {"sampler_name": "Euler", "scheduler": "Automatic"}
FREEU = {"stage1_backbone": 1.3, "stage2_backbone": 1.4, "stage1_skip": 0.9, "stage2_skip": 0.2}
PAIRS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "FreeU Integrated": ([True, 1.3, 1.4, 0.9, 0.2], {"freeu": {"preset": "Custom", "version": "2", **FREEU}}),
    "RescaleCFG for reForge": ([True, "Normal", 0.7], {"cfg_rescale": {"phi": 0.7}}),
    "Mahiro CFG for reForge": ([True], {"mahiro": {}}),
    "DynamicThresholding (CFG-Fix) Integrated": (
        [True, False, 3, 0.9, "Constant", 0, "Constant", 0, 1, "enable", "MEAN", "AD", 1],
        {"dynamic_thresholding": {"mimic_scale": 3, "percentile": 90}},
    ),
}
"""Built-in scripts with their arguments, and our settings that do the same."""
ADVANCED = "Advanced Model Sampling for reForge"
ARGUMENTS = ["v_prediction", False, "v_prediction", 120, 0.002, 500, 0.03, 2, 4.5, 1.73, 1.15, 0.5, 1024, 1024]
"""Its arguments behind switch and mode, which are its defaults."""


@pytest.fixture
def reforge(webui: WebUi) -> WebUi:
    """The WebUI under test, if it is reForge."""
    if webui.host != REFORGE:
        pytest.skip(f"this is {webui.host}")
    return webui


def farthest(one: Pictures, other: Pictures) -> int:
    first, second = (np.frombuffer(pictures.pixels[0], np.uint8).astype(int) for pictures in (one, other))
    return int(np.abs(first - second).max())


@pytest.mark.parametrize("title", PAIRS)
def test_its_built_in_scripts_give_the_same(reforge: WebUi, title: str):
    arguments, request = PAIRS[title]
    theirs = reforge.txt2img(alwayson_scripts={title: {"args": arguments}}, **EULER)
    assert farthest(reforge.txt2img(request, **EULER), theirs) <= NEAR
    assert farthest(theirs, reforge.txt2img(**EULER)) > 5


def test_its_own_cfgpp_sampler_gives_the_same(reforge: WebUi):
    theirs = reforge.txt2img(**{**EULER, "sampler_name": "Euler CFG++", "cfg_scale": 0.6, "scheduler": "Normal"})
    ours = reforge.txt2img({"cfgpp": {"scale": 0.6}}, **{**EULER, "scheduler": "Normal"})
    assert farthest(ours, theirs) <= NEAR


@pytest.mark.parametrize("name", ["Euler CFG++", "DPM++ 2M CFG++", "Euler A Comfy", "Heun Comfy", "DDIM CFG++ (CFG/12.5)"])
def test_samplers_of_both_are_guided(reforge: WebUi, name: str):
    job = {"sampler_name": name, "cfg_scale": 7 if "12.5" in name or "CFG++" not in name else 0.6}
    plain = reforge.txt2img(**job)
    assert reforge.txt2img({"pag": {"scale": 3}}, **job).difference(plain) > 1
    assert reforge.txt2img(**job).pixels == plain.pixels


@pytest.mark.parametrize(("mode", "request_", "said"), [
    ("SD3", {"pag": {}}, "Turn off Advanced Model Sampling"),
    ("Discrete", {"flow": {"mode": "On"}}, "Advanced Model Sampling is on as well"),
])  # fmt: skip
def test_another_kind_of_model_is_refused_by_name(reforge: WebUi, mode: str, request_: dict, said: str):
    with pytest.raises(Refused, match=said):
        reforge.txt2img(request_, alwayson_scripts={ADVANCED: {"args": [True, mode, *ARGUMENTS]}}, **EULER)
