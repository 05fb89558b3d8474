"""SDFM in a real AUTOMATIC1111 WebUI."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from tests.hosts.real.client import Pictures, Refused, WebUi

PAG = {"pag": {"scale": 2}}
SEG_OFF, SCFG_OFF = [False, 11.0, 0, 150], [False, 1.0, 0.8, 3.0, 0.0, 0, 150, 4]
INCANTATIONS = [*SEG_OFF, *SCFG_OFF, True, 1.0, 0, 150, False, "Constant", 0, 100, True]


def test_the_schema_is_served(webui: WebUi):
    served = webui.get("/sdfm/v1/schema")
    assert "pag" in served["properties"]
    assert served["x-positional"][:6] == ["request", "recipe", "notes", "pag.enabled", "pag.sanf", "pag.scale"]


def test_all_titles_are_known(webui: WebUi):
    known = webui.get("/sdapi/v1/scripts")["txt2img"]
    assert {"sdfm", "incantations", "freeu", "dynamic thresholding (cfg scale fix)"} <= set(known)


def test_pag_changes_the_picture_and_tells_so(webui: WebUi, plain: Pictures):
    guided = webui.txt2img(PAG)
    assert guided.pixels != plain.pixels
    written = "PAG Active: True, PAG SANF: False, PAG Scale: 2, PAG Start Step: 0, PAG End Step: 150, SDFM: 1"
    assert written in guided.texts[0]
    assert "PAG" not in plain.texts[0] and "SDFM" not in plain.texts[0]


@pytest.mark.parametrize("request_", [{}, {"pag": False}, {"pag": {"scale": 0}}, {"pag": {"start_step": 50}}], ids=str)
def test_neutral_settings_are_bit_equal_to_none(webui: WebUi, plain: Pictures, request_: dict):
    assert webui.txt2img(request_).pixels == plain.pixels


@pytest.mark.parametrize("request_", [PAG, {"recipe": "original", "pag": {"scale": 1, "sanf": True, "end_step": 4}}], ids=str)
def test_dictionary_positional_list_and_text_give_the_same_pixels(webui: WebUi, request_: dict):
    guided = webui.txt2img(request_)
    pag = {"sanf": False, "scale": 3, "start_step": 0, "end_step": 150, **request_["pag"]}
    args = ["", request_.get("recipe", "sdfm"), "", True, *(pag[name] for name in ("sanf", "scale", "start_step", "end_step"))]
    assert webui.txt2img(args) == guided
    assert webui.txt2img(infotext=guided.texts[0]) == guided


def test_a_text_without_our_keys_switches_nothing_on(webui: WebUi, plain: Pictures):
    assert webui.txt2img(infotext=plain.texts[0]) == plain


def test_an_old_payload_equals_the_text_that_the_original_wrote_for_it(webui: WebUi, plain: Pictures):
    old = webui.txt2img(alwayson_scripts={"Incantations": {"args": INCANTATIONS}})
    theirs = "PAG Active: True, PAG SANF: True, PAG Scale: 1.0, PAG Start Step: 0, PAG End Step: 150"
    text = plain.texts[0].replace(", Version:", f", {theirs}, Version:")
    assert theirs in text
    assert webui.txt2img(infotext=text) == old
    assert old.pixels != plain.pixels


def refusal(webui: WebUi, sdfm: Any = None, **request: Any) -> str:
    with pytest.raises(Refused) as caught:
        webui.txt2img(sdfm, **request)
    assert caught.value.status == 422
    return caught.value.text


@pytest.mark.parametrize(
    ("sdfm", "words"),
    [
        ({"pag": {"scale": -1}}, ["PAG Scale", "-1", "0 to 100"]),
        ({"pag": {"strength": 1}}, ["pag.strength"]),
        ({"pog": {}}, ["pog"]),
        ({"pag": {"layers": "middle.40"}}, ["middle block", "40"]),
        (["", "sdfm", "", True, "yes"], ["PAG SANF", "yes"]),
        (["", "sdfm", "nonsense"], ["nonsense"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_settings_are_refused_by_name_and_leave_nothing(webui: WebUi, plain: Pictures, sdfm: Any, words: list[str]):
    text = refusal(webui, sdfm)
    assert [word for word in words if word not in text] == []
    assert webui.txt2img() == plain


def test_nonsense_in_a_text_is_refused(webui: WebUi, plain: Pictures):
    text = plain.texts[0].replace(", Version:", ", PAG Active: True, PAG Scale: much, Version:")
    assert "PAG Scale: 'much'" in refusal(webui, infotext=text)


def test_what_was_not_built_is_refused_by_name(webui: WebUi):
    args = [*SEG_OFF, True, *SCFG_OFF[1:]]
    assert "S-CFG" in refusal(webui, alwayson_scripts={"Incantations": {"args": args}})


def test_an_interrupt_leaves_nothing(webui: WebUi, plain: Pictures):
    job = threading.Thread(target=webui.txt2img, args=(PAG,), kwargs={"steps": 80})
    job.start()
    while job.is_alive() and webui.get("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] < 3:
        time.sleep(0.05)
    assert job.is_alive()
    webui.post("/sdapi/v1/interrupt")
    job.join()
    assert webui.txt2img() == plain


def test_every_sampler_is_guided(webui: WebUi):
    for sampler in webui.get("/sdapi/v1/samplers"):
        settings = {"sampler_name": sampler["name"], "scheduler": "Automatic", "steps": 3}
        pixels = {tuple(webui.txt2img(sdfm, **settings).pixels) for sdfm in (None, PAG)}
        assert len(pixels) == 2, sampler["name"]


def test_batches_are_guided_image_by_image(webui: WebUi):
    alone = [webui.txt2img(PAG, seed=seed).pixels[0] for seed in (5, 6)]
    both = webui.txt2img(PAG, n_iter=2).pixels[-2:]
    assert both == alone
    together = webui.txt2img(PAG, batch_size=2).pixels[-2:]
    differences = [max(abs(a - b) for a, b in zip(one, other)) for one, other in zip(together, alone)]
    assert max(differences) <= 3  # the order of sums differs


def test_the_hires_pass_is_guided_too(webui: WebUi):
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    plain = webui.txt2img(**hires)
    requests = [PAG, {"pag": {"scale": 2, "hires_scale": 0}}, {"pag": {"scale": 0, "hires_scale": 2}}]
    guided = [tuple(webui.txt2img(request, **hires).pixels) for request in requests]
    assert len({tuple(plain.pixels), *guided}) == 4
    assert webui.txt2img({"pag": {"scale": 0}}, **hires).pixels == plain.pixels
    assert webui.txt2img(**hires) == plain


def difference(one: Pictures, other: Pictures) -> float:
    return float(np.mean([abs(int(a) - int(b)) for a, b in zip(one.pixels[0], other.pixels[0])]))


def test_img2img_is_guided_and_neutral_when_off(webui: WebUi):
    """A1111 doesn't seed its encoder's noise: its pictures repeat almost, not exactly."""
    plain, guided, off, later = (webui.img2img(sdfm) for sdfm in (None, PAG, {"pag": {"scale": 0}}, None))
    assert difference(guided, plain) > 20 * max(difference(off, plain), difference(later, plain))


def test_a_plot_sets_our_settings_and_leaks_nothing(webui: WebUi, plain: Pictures):
    info = next(script for script in webui.get("/sdapi/v1/script-info") if script["name"] == "x/y/z plot")
    axes = info["args"][0]["choices"]
    place = axes.index("[PAG] PAG Scale")
    args = [place, "0, 2", [], 0, "", [], 0, "", [], False, True, False, True, False, False, False, 0, False]
    grid, zero, two = webui.txt2img(script_name="x/y/z plot", script_args=args).pixels
    assert zero == plain.pixels[0]
    assert two == webui.txt2img(PAG).pixels[0]
    assert grid not in (zero, two)
    assert webui.txt2img() == plain
