"""SDFM in a real WebUI, AUTOMATIC1111's or Forge."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.hosts.real.client import Pictures, Refused, WebUi

PAG = {"pag": {"scale": 2}}
ALONE = {
    "pag": {"pag": {"scale": 2}},
    "seg": {"seg": {"blur": 1}},
    "freeu": {"freeu": {}},
    "dynamic thresholding": {"dynamic_thresholding": {"mimic_scale": 2}},
    "CFG schedule": {"cfg_schedule": {"schedule": "Cosine"}},
}
ALL = {"pag": {"scale": 1}, "seg": {"blur": 2}, "freeu": {}, "dynamic_thresholding": {"mimic_scale": 3},
       "cfg_schedule": {"schedule": "Linear"}}  # fmt: skip
LONG = "a house in the hills, " * 20
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


TWO_WAYS = pytest.mark.parametrize(
    "request_", [PAG, {"recipe": "original", "pag": {"scale": 1, "sanf": True, "end_step": 4}}], ids=["sdfm", "original"]
)


@TWO_WAYS
def test_dictionary_and_positional_list_give_the_same_pixels(webui: WebUi, request_: dict):
    pag = {"sanf": False, "scale": 3, "start_step": 0, "end_step": 150, **request_["pag"]}
    args = ["", request_.get("recipe", "sdfm"), "", True, *(pag[name] for name in ("sanf", "scale", "start_step", "end_step"))]
    assert webui.txt2img(args) == webui.txt2img(request_)


@TWO_WAYS
def test_the_text_gives_the_same_pixels(reader: WebUi, request_: dict):
    guided = reader.txt2img(request_)
    assert reader.txt2img(infotext=guided.texts[0]) == guided


def test_a_text_without_our_keys_switches_nothing_on(reader: WebUi, plain: Pictures):
    assert reader.txt2img(infotext=plain.texts[0]) == plain


def test_an_old_payload_runs_recipe_original(webui: WebUi, plain: Pictures):
    old = webui.txt2img(alwayson_scripts={"Incantations": {"args": INCANTATIONS}})
    assert old == webui.txt2img({"recipe": "original", "pag": {"scale": 1, "sanf": True}})
    assert old.pixels != plain.pixels


def test_an_old_payload_equals_the_text_that_the_original_wrote_for_it(reader: WebUi, plain: Pictures):
    old = reader.txt2img(alwayson_scripts={"Incantations": {"args": INCANTATIONS}})
    theirs = "PAG Active: True, PAG SANF: True, PAG Scale: 1.0, PAG Start Step: 0, PAG End Step: 150"
    text = plain.texts[0].replace(", Version:", f", {theirs}, Version:")
    assert theirs in text
    assert reader.txt2img(infotext=text) == old


def refusal(webui: WebUi, sdfm: Any = None, **request: Any) -> str:
    with pytest.raises(Refused) as caught:
        webui.txt2img(sdfm, **request)
    assert caught.value.status == 422
    return caught.value.text


@pytest.mark.parametrize(
    ("sdfm", "words"),
    [
        ({"pag": {"scale": -1}}, ["pag.scale", "-1", "0 to 100"]),
        ({"pag": {"strength": 1}}, ["pag.strength"]),
        ({"pog": {}}, ["pog"]),
        ({"pag": {"layers": "middle.40"}}, ["middle block", "40"]),
        (["", "sdfm", "", True, "yes"], ["pag.sanf", "yes"]),
        (["", "sdfm", "nonsense"], ["nonsense"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_settings_are_refused_by_name_and_leave_nothing(webui: WebUi, plain: Pictures, sdfm: Any, words: list[str]):
    text = refusal(webui, sdfm)
    assert [word for word in words if word not in text] == []
    assert webui.txt2img() == plain


def test_nonsense_in_a_text_is_refused(reader: WebUi, plain: Pictures):
    text = plain.texts[0].replace(", Version:", ", PAG Active: True, PAG Scale: much, Version:")
    assert "PAG Scale: 'much'" in refusal(reader, infotext=text)


def test_what_was_not_built_is_refused_by_name(webui: WebUi):
    args = [*SEG_OFF, True, *SCFG_OFF[1:]]
    assert "S-CFG" in refusal(webui, alwayson_scripts={"Incantations": {"args": args}})


LATE_IN_HIRES = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.9, "steps": 4, "hr_second_pass_steps": 80}
INTERRUPTED = {
    "PAG": (PAG, {"steps": 80}),
    "everything": (ALL, {"steps": 80, "batch_size": 2}),
    "CFG++ and NAG": ({"cfgpp": {}, "nag": {}, "tpg": {}}, {"steps": 80, "sampler_name": "Euler", "scheduler": "Automatic"}),
    "v-prediction, zero terminal SNR": (
        {"model": {"kind": "v-prediction", "zero_terminal_snr": True}, "apg": {}}, {"steps": 80},
    ),
    "flow matching": ({"flow": {"shift": 3}, "cfg_zero": {}}, {"steps": 80, "sampler_name": "Euler", "scheduler": "Automatic"}),
    "hires pass": ({"pag": {"scale": 2}, "fdg": {}}, LATE_IN_HIRES),
}  # fmt: skip
"""Our settings, and jobs that are long enough; after more steps than the first pass has, the second one runs."""


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupt_leaves_nothing(webui: WebUi, plain: Pictures, name: str):
    sdfm, settings = INTERRUPTED[name]
    step, failed = 8 if "enable_hr" in settings else 3, []

    def run() -> None:
        try:
            webui.txt2img(sdfm, **settings)
        except Refused as refused:
            failed.append(refused)

    job = threading.Thread(target=run)
    job.start()
    while job.is_alive() and webui.get("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] < step:
        time.sleep(0.05)
    assert job.is_alive() and not failed, failed
    webui.post("/sdapi/v1/interrupt")
    asked = time.monotonic()
    job.join()
    assert not failed and time.monotonic() - asked < 60
    assert webui.txt2img() == plain


def test_every_sampler_is_guided(webui: WebUi):
    unguided = []
    for sampler in webui.samplers:
        if webui.is_for_flow(sampler):
            continue
        settings = {"sampler_name": sampler, "scheduler": "Automatic", "steps": 3}
        pixels = {tuple(webui.txt2img(sdfm, **settings).pixels) for sdfm in (None, PAG)}
        unguided += [sampler] * (len(pixels) == 1)
    assert not unguided


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("recipe", ["sdfm", "original"])
def test_every_technique_acts_and_leaves_nothing(webui: WebUi, plain: Pictures, name: str, recipe: str):
    """FreeU of recipe original knows the channel numbers of Stable Diffusion's UNets alone, which a small model has not."""
    guided = webui.txt2img({"recipe": recipe, **ALONE[name]})
    assert (guided.pixels != plain.pixels) or (recipe, name) == ("original", "freeu")
    assert webui.txt2img() == plain


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"prompt": "a house :1.2 AND a tree :0.5 AND a hill"}, id="AND"),
        pytest.param({"prompt": f"a house AND {LONG}", "batch_size": 2}, id="AND, unequal lengths, batch"),
        pytest.param({"prompt": LONG}, id="unequal lengths"),
        pytest.param({"s_min_uncond": 5}, id="NGMS"),
        pytest.param({"steps": 1}, id="one step"),
        pytest.param({"width": 168, "height": 136}, id="odd size"),
        pytest.param({"width": 320, "height": 64}, id="wide"),
        pytest.param({"prompt": "", "negative_prompt": ""}, id="no prompt"),
    ],
)
@pytest.mark.parametrize("recipe", ["sdfm", "original"])
def test_all_techniques_together_act_in_any_job(webui: WebUi, plain: Pictures, recipe: str, settings: dict):
    guided, unguided = webui.txt2img({"recipe": recipe, **ALL}, **settings), webui.txt2img(**settings)
    assert len(guided.pixels) == len(unguided.pixels)
    assert guided.difference(unguided) > 0.1
    assert webui.txt2img() == plain


def test_guidance_goes_on_with_the_refiner(webui: WebUi, plain: Pictures, another_checkpoint: str):
    settings = {"refiner_checkpoint": another_checkpoint, "refiner_switch_at": 0.5}
    unguided = webui.txt2img(**settings)
    late = {"pag": {"scale": 5, "start_step": 6}, "seg": {"scale": 5, "start_step": 6}}
    assert unguided.difference(plain) > 0.1
    assert webui.txt2img(late, **settings).difference(unguided) > 0.01
    assert webui.txt2img(**settings).pixels == unguided.pixels  # the text gets the hash when the host has computed it
    assert webui.txt2img() == plain


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


def test_img2img_is_guided_and_neutral_when_off(webui: WebUi):
    """The hosts don't seed their encoder's noise: their pictures repeat almost, not exactly."""
    plain, guided, off, later = (webui.img2img(sdfm) for sdfm in (None, PAG, {"pag": {"scale": 0}}, None))
    assert guided.difference(plain) > 20 * max(off.difference(plain), later.difference(plain))


def test_a_plot_sets_our_settings_and_leaks_nothing(webui: WebUi, plain: Pictures):
    """Under its old label an axis means recipe original, where nothing else is on."""
    for axis, recipe in (("[SDFM] PAG scale", "sdfm"), ("[PAG] PAG Scale", "original")):
        grid, zero, two = webui.txt2img(**webui.plot_of(axis, "0, 2")).pixels
        assert zero == plain.pixels[0]
        assert two == webui.txt2img({"recipe": recipe, **PAG}).pixels[0]
    assert grid not in (zero, two)
    assert webui.txt2img() == plain
