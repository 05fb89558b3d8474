"""Texts and requests from public reports in a real WebUI: the picture is made as they say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hosts.real.client import Pictures, Refused, WebUi

HEAD = "a house\nNegative prompt: blurry\nSteps: 4, Sampler: Euler a, CFG scale: 4, Seed: 5, Size: 96x96, "


def explained(webui: WebUi, body: dict[str, Any]) -> dict[str, Any]:
    return webui.post("/sdfm/v1/explain", body)


def made(webui: WebUi, text: str, **request: Any) -> Pictures:
    """Pictures of a text alone; its size would lose to that of a request."""
    return webui._made("/sdapi/v1/txt2img", {"infotext": text, "hr_sampler_name": None, "hr_scheduler": None, **request})


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("Euler Comfy", "Sampler: Euler, "),
        ("Euler A Comfy RF", "Sampler: Euler a, "),
        ("euler_ancestral_cfg_pp_karras", "Sampler: Euler Ancestral CFG++, Schedule type: Karras"),
        ("DPM++ 2M Karras", "Sampler: DPM++ 2M, Schedule type: Karras"),
        ("Euler A CFG++", "Sampler: Euler Ancestral CFG++, "),
        ("Euler a_dynthres1", "Sampler: Euler a, "),
    ],
)
def test_samplers_of_others(reader: WebUi, said: str, written: str):
    if said in reader.samplers:
        written = f"Sampler: {said}, "
    text = HEAD.replace("Euler a", said).replace("CFG scale: 4", "CFG scale: 1.2")
    assert written in made(reader, text).texts[0]
    report = explained(reader, {"infotext": text})
    assert report["warnings"] == [] and report["sampler"]["name"] in written


def test_comfyuis_schedule(reader: WebUi):
    assert "Schedule type: SGM Uniform" in made(reader, HEAD + "Scheduler: sgm_uniform").texts[0]


def test_a_missing_sampler_is_named(reader: WebUi):
    report = explained(reader, {"infotext": HEAD.replace("Euler a", "Euler Dx CFG++")})
    assert report["sampler"] is None and "the nearest is Euler" in report["warnings"][0]


def test_names_in_other_capitals_are_the_same_sampler(webui: WebUi):
    assert "Sampler: Euler a, " in webui.txt2img(sampler_name="euler a", steps=3).texts[0]


def test_hires_samplers_of_others(a1111: WebUi):
    hires = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.7, "hr_upscaler": "Latent", "steps": 3}
    text = a1111.txt2img(sampler_name="Euler", hr_sampler_name="dpmpp_2m_karras", **hires).texts[0]
    assert "Hires sampler: DPM++ 2M" in text


def test_keys_of_neo(reader: WebUi):
    text = made(reader, HEAD + "Rescale CFG: 0.7, Version: neo-2.29").texts[0]
    assert "CFG Rescale: 0.7" in text
    assert explained(reader, {"infotext": HEAD + "Version: neo-2.29"})["written_by"] == "Forge Neo 2.29"


def test_marks_of_the_refiner(reader: WebUi, another_checkpoint: str):
    refined = {"refiner_checkpoint": another_checkpoint, "refiner_switch_at": 0.5, "steps": 4}
    for prompt in ("[red:blue:refiner] house", "[red:blue:Refiner] house", "[red：blue：refiner] house"):
        text = reader.txt2img(prompt=prompt, **refined).texts[0]
        assert text.startswith("[red:blue:") and "efiner]" not in text.split("\n")[0]


@pytest.mark.parametrize("scripts", [{"SDFM": {"pag": {}}}, {"SDFM": [{"pag": {}}]}], ids=str)
def test_shapes_that_the_webui_drops(webui: WebUi, scripts: dict[str, Any]):
    assert "PAG Active" not in webui.txt2img(alwayson_scripts=scripts, steps=2).texts[0]
    assert "`args`" in explained(webui, {"alwayson_scripts": scripts})["warnings"][0]


def test_dictionaries_for_the_old_lists(a1111: WebUi):
    with pytest.raises(Refused) as caught:
        a1111.txt2img(alwayson_scripts={"Dynamic Thresholding (CFG Scale Fix)": {"args": [{"mimic_scale": 7}]}})
    assert caught.value.status == 422 and "in this order" in caught.value.text


def test_what_does_nothing_is_not_written(webui: WebUi, plain: Pictures):
    picture = webui.txt2img({"pag": {"start_step": 9, "end_step": 3}})
    assert picture == plain


def test_a_choice_by_its_number(webui: WebUi):
    assert "FreeU Version: 2" in webui.txt2img({"freeu": {"version": 2}}, steps=2).texts[0]


def test_swapped_ends_of_an_interval(webui: WebUi):
    with pytest.raises(Refused) as caught:
        webui.txt2img({"cfg_schedule": {"low": 9, "high": 3}})
    assert "cfg_schedule.low" in caught.value.text


def test_parameters_before_the_last_line(webui: WebUi):
    report = explained(webui, {"infotext": HEAD + "Version: v1.10.1\nTemplate: x\nNegative Template: y"})
    assert "line 3 of 5" in report["warnings"][0]
