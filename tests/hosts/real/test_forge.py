"""Peculiarities of Forge: extensions of its own that do the same, and the jobs in which it makes no uncond."""

from __future__ import annotations

import pytest

from tests.hosts.real.client import Pictures, Refused, WebUi

EULER = {"sampler_name": "Euler", "scheduler": "Automatic"}
"""A sampler that forgets nothing and adds nothing: the smallest difference of sums stays small."""
PAIRS = {
    "PAG": (
        {"pag": {"scale": 3}},
        {"PerturbedAttentionGuidance Integrated": [True, 3.0, 0.0, 0.0, 1.0]},
    ),
    "FreeU": (
        {
            "freeu": {
                "preset": "Custom", "stage1_backbone": 1.3, "stage1_skip": 0.9, "stage2_backbone": 1.4, "stage2_skip": 0.2,
            }
        },
        {"FreeU Integrated (SD 1.x, SD 2.x, SDXL)": [True, 1.3, 1.4, 0.9, 0.2, 0.0, 1.0]},
    ),
    "dynamic thresholding": (
        {"dynamic_thresholding": {"mimic_scale": 3, "percentile": 90}},
        {
            "DynamicThresholding (CFG-Fix) Integrated": [
                True, 3.0, 0.9, "Constant", 0.0, "Constant", 0.0, 1.0, "enable", "MEAN", "AD", 1.0,
            ]
        },
    ),
}  # fmt: skip
"""Our settings, and the arguments of the built-in extension that does the same."""

HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "hr_cfg": 1}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("hires", [{}, {**HIRES, "hr_cfg": 5}], ids=["base", "hires"])
def test_our_picture_is_the_built_in_extensions(with_built_ins: WebUi, name: str, hires: dict):
    ours, theirs = PAIRS[name]
    built_in = {title: {"args": args} for title, args in theirs.items()}
    settings = {**EULER, **hires}
    wanted = with_built_ins.txt2img(alwayson_scripts=built_in, **settings)
    assert with_built_ins.txt2img(ours, **settings).difference(wanted) < 0.05
    assert wanted.difference(with_built_ins.txt2img(**settings)) > 1


@pytest.mark.parametrize("name", PAIRS)
def test_beside_a_built_in_extension_both_act(with_built_ins: WebUi, plain: Pictures, name: str):
    """A comment under the picture says so, which Forge's API doesn't hand on."""
    ours, theirs = PAIRS[name]
    built_in = {title: {"args": args} for title, args in theirs.items()}
    both = with_built_ins.txt2img(ours, alwayson_scripts=built_in).pixels
    assert both not in (with_built_ins.txt2img(ours).pixels, with_built_ins.txt2img(alwayson_scripts=built_in).pixels)
    assert with_built_ins.txt2img() == plain


@pytest.mark.parametrize("settings", [{"cfg_scale": 1}, HIRES], ids=["the only pass", "the hires pass"])
@pytest.mark.parametrize("request_", [{"pag": {}}, {"seg": {}}, {"freeu": {}}], ids=str)
def test_guidance_without_a_negative_prompt(forge: WebUi, settings: dict, request_: dict):
    assert forge.txt2img(request_, **settings).difference(forge.txt2img(**settings)) > 0.1


@pytest.mark.parametrize("settings", [{"cfg_scale": 1}, HIRES], ids=["the only pass", "the hires pass"])
@pytest.mark.parametrize(
    ("request_", "label"),
    [
        ({"dynamic_thresholding": {}}, "Dynamic thresholding"),
        ({"recipe": "original", "seg": {}}, "SEG"),
        ({"recipe": "original", "pag": {"sanf": True}}, "PAG"),
        ({"cfg_schedule": {"schedule": "Cosine"}}, "CFG schedule"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_needs_the_negative_prompt_says_so(forge: WebUi, plain: Pictures, settings: dict, request_: dict, label: str):
    if label == "SEG" and "hr_cfg" not in settings:  # it changes that prediction alone, so that there is nothing to do
        assert forge.txt2img(request_, **settings) == forge.txt2img(**settings)
        return
    with pytest.raises(Refused) as caught:
        forge.txt2img(request_, **settings)
    assert caught.value.status == 422
    assert label.lower() in caught.value.text.lower() and "CFG scale 1" in caught.value.text
    assert forge.txt2img() == plain


@pytest.mark.parametrize("name", ["PAG", "FreeU"])
def test_a_text_of_a_built_in_extension_is_left_to_it(with_built_ins: WebUi, name: str):
    ours, theirs = PAIRS[name]
    (technique,) = ours
    made = with_built_ins.txt2img(alwayson_scripts={title: {"args": args} for title, args in theirs.items()}, steps=2)
    report = with_built_ins.post("/sdfm/v1/explain", {"infotext": made.texts[0]})
    assert technique not in report["techniques"] and report["unknown"] == report["errors"] == []
    assert any("own controls; SDFM's stays off" in warning for warning in report["warnings"])
