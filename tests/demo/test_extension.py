"""The extension in the demo: loaded as A1111 does, and all ways to ask for something give the same pixels."""

import numpy as np
import pytest

PAG = {"pag": {"scale": 4, "start_step": 1}}
PAG_TEXT = "PAG Active: True, PAG SANF: False, PAG Scale: 4, PAG Start Step: 1, PAG End Step: 150, SDFM: 1"


def controls_of(host, tab_is_img2img=False):
    (info,) = (s for s in host.get("script-info") if s["name"] == "sdfm" and s["is_img2img"] is tab_is_img2img)
    return info["args"]


def positional(host, changes):
    """All arguments as a list, with some exchanged by their labels."""
    args = controls_of(host)
    assert set(changes) <= {arg["label"] for arg in args}
    return [changes.get(arg["label"], arg["value"]) for arg in args]


def axis_index(label, is_img2img=False):
    from modules import scripts

    runner = scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img
    options = runner.script("X/Y/Z plot").current_axis_options
    return [option.label for option in options].index(label)


def plot(host, label, values, **fields):
    script_args = [axis_index(label), values, 0, "", 0, ""]
    return host.txt2img(script_name="X/Y/Z plot", script_args=script_args, **fields)


def test_it_is_loaded(host):
    names = host.get("scripts")
    assert {"sdfm", "incantations", "freeu"} <= set(names["txt2img"]) and set(names["txt2img"]) == set(names["img2img"])
    assert "sdfm" not in host.scripts_without_extension["txt2img"]
    assert host.http.get("/sdfm/v1/schema").status_code == 200


@pytest.mark.parametrize("sampler", ["Euler", "DDIM", "DPM++ SDE"])
def test_off_is_bit_equal_to_not_installed(host, sampler):
    assert np.array_equal(host.txt2img(sampler_name=sampler).pixels, host.plain[sampler])
    assert host.swallowed == []


def test_all_ways_to_ask_give_the_same_pixels(host):
    by_dictionary = host.guided(PAG)
    listed = positional(host, {"Perturbed-attention guidance (PAG)": True, "PAG scale": 4, "PAG start step": 1})
    by_position = host.guided(*listed)
    by_infotext = host.post("/sdapi/v1/txt2img", {"infotext": by_dictionary.text})
    by_axis = plot(host, "[SDFM] PAG scale", "4", alwayson_scripts={"SDFM": {"args": [{"pag": {"start_step": 1}}]}})
    assert PAG_TEXT in by_dictionary.text and (by_dictionary.pixels != host.plain["Euler"]).any()
    assert by_position.text == by_infotext.text == by_dictionary.text
    for other in (by_position.pixels, by_infotext.pixels, np.asarray(by_axis.pictures[1]).astype(int)):
        assert np.array_equal(other, by_dictionary.pixels)


def test_cells_of_a_plot_do_not_inherit_from_each_other(host):
    import json

    answer = plot(host, "[SDFM] Perturbed-attention guidance (PAG)", "True, False, True")
    grid, on, off, again = answer.pictures
    texts = json.loads(answer.body["info"])["infotexts"][1:]
    assert [("PAG Active: True" in text) for text in texts] == [True, False, True]
    assert np.array_equal(np.asarray(off).astype(int), host.plain["Euler"])
    assert np.array_equal(np.asarray(on), np.asarray(again)) and not np.array_equal(np.asarray(on), np.asarray(off))
    assert "sdfm" not in " ".join(host.swallowed).lower()


def test_a_bad_value_of_an_axis_is_an_error_before_anything_is_made(host):
    with host.calls() as calls:
        answer = plot(host, "[SDFM] PAG scale", "1, -5")
    assert answer.status != 200 and "PAG" in str(answer.body) and calls == []


@pytest.mark.parametrize("asked", [{"pag": {"scale": "much"}}, {"pag": {"scale": -1}}, {"pag": {"size": 3}}, {"bag": {}}])
def test_a_bad_value_is_a_422_with_a_text(host, asked):
    answer = host.guided(asked)
    assert answer.status == 422 and answer.body["detail"].startswith("SDFM: ") and not answer.pictures
    assert np.array_equal(host.txt2img().pixels, host.plain["Euler"])


def test_an_unknown_script_is_a_422(host):
    assert host.txt2img(alwayson_scripts={"Nobody": {"args": []}}).status == 422


TECHNIQUES = [
    {"pag": {"scale": 3, "sanf": True}},
    {"seg": {"scale": 3}},
    {"dynamic_thresholding": {"mimic_scale": 2}},
    {"cfg_schedule": {"schedule": "Cosine"}},
    {"freeu": {"preset": "SDXL"}},
    {"recipe": "original", "pag": {"scale": 1}, "seg": {"blur": 11}},
]


@pytest.mark.parametrize("asked", TECHNIQUES, ids=lambda asked: "+".join(asked))
@pytest.mark.parametrize("sampler", ["Euler", "DDIM CFG++"])
def test_each_technique_reproduces_from_its_text(host, asked, sampler):
    first = host.guided(asked, sampler_name=sampler)
    assert first.status == 200, first.body
    again = host.post("/sdapi/v1/txt2img", {"infotext": first.text})
    assert again.text == first.text and np.array_equal(again.pixels, first.pixels)
    assert host.swallowed == []


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_published_texts_keep_their_part(host, name):
    from examples import EXAMPLES

    text = EXAMPLES[name]
    answer = host.post("/sdapi/v1/txt2img", {"infotext": text, "width": 128, "height": 128, "steps": 3})
    assert answer.status == 200, answer.body
    start, end = ("SEG Active", ", Version") if name == "a" else ("FreeU Stages", ", PAG Active")
    part = text[text.index(start) : text.index(end)]
    assert part in answer.text and answer.text.index("SDFM Recipe: original") > answer.text.index(part)


@pytest.mark.parametrize(
    "fields", [{"enable_hr": True, "hr_scale": 1.5}, {"refiner_checkpoint": "demo-second"}, {"batch_size": 2}]
)
def test_passes_with_guidance(host, fields):
    more = {**fields, "denoising_strength": 0.6, "refiner_switch_at": 0.4}
    guided, plain = host.guided({"pag": {}, "seg": {}}, **more), host.txt2img(**more)
    assert guided.status == 200 and (guided.pixels != plain.pixels).any()
    assert host.swallowed == []


@pytest.mark.parametrize("size", [{"width": 136, "height": 72}, {"width": 64, "height": 200}], ids=str)
@pytest.mark.parametrize("hires", [{}, {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6}], ids=["base", "hires"])
def test_sizes_that_do_not_halve(host, size, hires):
    asked = {"pag": {}, "seg": {"blur": 2}, "freeu": {"preset": "SDXL"}}
    guided, plain = host.guided(asked, **size, **hires), host.txt2img(**size, **hires)
    assert guided.status == 200 and guided.pixels.shape == plain.pixels.shape and (guided.pixels != plain.pixels).any()
    assert host.swallowed == []


def test_img2img_with_guidance(host):
    from PIL import Image

    picture = Image.new("RGB", (128, 128), "orange")
    plain, guided = host.img2img(picture), host.img2img(picture, alwayson_scripts={"SDFM": {"args": [PAG]}})
    assert PAG_TEXT in guided.text and (guided.pixels != plain.pixels).any()


def test_old_payloads_run(host):
    args = [False, 11.0, 0, 150, False, 1.0, 0.8, 3.0, 0.0, 0, 150, 4, True, 1.0, 0, 150, False, "Constant", 0, 100, False]
    answer = host.txt2img(alwayson_scripts={"Incantations": {"args": args}})
    assert answer.status == 200 and "PAG Scale: 1" in answer.text and "SDFM Recipe: original" in answer.text
