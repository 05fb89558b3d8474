"""Other WebUIs' generation parameters through the API's ``infotext`` field."""

import numpy as np

HEAD = "a red house\nSteps: 6, Sampler: {}, Schedule type: Automatic, CFG scale: 5, Seed: 1, Size: 128x128, "


def by_text(host, keys, sampler="Euler"):
    return host.post("/sdapi/v1/txt2img", {"infotext": HEAD.format(sampler) + keys})


def test_forges_pag_is_ours_with_its_window_in_steps(host):
    keys = "pagi_enabled: True, pagi_scale: 4.0, pagi_attenuation: 0.0, pagi_start_step: 0.2, pagi_end_step: 1.0"
    ours = host.guided({"pag": {"scale": 4, "start_step": 2}}, steps=6)
    theirs = by_text(host, keys)
    assert "PAG Start Step: 2" in theirs.text and "pagi" not in theirs.text
    assert np.array_equal(theirs.pixels, ours.pixels)


def test_what_is_left_out_is_named_by_explain(host):
    keys = "sag_enabled: True, sag_scale: 0.5, pag_enabled: True, pag_scale: 2"
    assert "PAG Scale: 2" in by_text(host, keys).text
    report = host.post("/sdfm/v1/explain", {"infotext": HEAD.format("Euler") + keys}).body
    assert "sag_scale: 0.5" in report["warnings"][0] and report["unknown"] == report["errors"] == []


def test_a_sampler_that_thresholding_renamed_is_the_true_one(host):
    keys = "Dynamic thresholding enabled: True, Mimic scale: 2, Threshold percentile: 100"
    assert "Sampler: Euler a," in by_text(host, keys, sampler="Euler a_dynthres1").text
    asked = host.post("/sdapi/v1/txt2img", {"infotext": HEAD.format("Euler a_dynthres1") + keys, "sampler_name": "DDIM"})
    assert "Sampler: DDIM," in asked.text
