"""Explanations of texts and payloads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import UserError
from lib_sdfm.planning.explain import explain_infotext, explain_payload
from lib_sdfm.schema.host_names import HostNames
from tests.schema.alone import PAG_ONLY
from tests.schema.strategies import anything

HOST = "a cat\nSteps: 20, Sampler: Euler, Seed: 1, "


def test_a_text_is_explained():
    report = explain_infotext(SCHEMA, HOST + "PAG Active: True, PAG Scale: 2, PAG Layers: middle.0, SDFM: 1")
    assert report["recipe"] == "sdfm"
    assert report["techniques"]["pag"]["scale"] == 2 and report["techniques"]["pag"]["layers"] == "middle.0"
    assert report["passes"] == {"base": 2, "pag": 1, "total": 3}
    assert report["errors"] == report["warnings"] == report["unknown"] == report["inert"] == []
    assert report["understood"] == ["PAG Active", "PAG Scale", "PAG Layers", "SDFM"]


def test_what_does_nothing_is_named_with_the_reason():
    report = explain_infotext(SCHEMA, HOST + "PAG Active: True, PAG Scale: 0, SDFM: 1")
    assert report["inert"] == [{"technique": "pag", "why": "its scale is 0"}]
    assert report["conditions"] == []
    assert report["passes"]["total"] == 2


def test_what_works_in_the_hires_pass_only_is_not_inert():
    report = explain_infotext(SCHEMA, HOST + "PAG Active: True, PAG Scale: 0, PAG Hires Scale: 2, SDFM: 1")
    assert report["inert"] == []


def test_what_else_must_hold_is_named_for_what_is_not_inert():
    old = 'FreeU Stages: "[{\\"skip_factor\\": 0.5}]", SEG Active: True, SEG Blur Sigma: 11'
    report = explain_infotext(SCHEMA, HOST + old)
    needs = {said["technique"]: said["needs"] for said in report["conditions"]}
    assert set(needs) == {"freeu", "seg"} and "1280, 640, 320" in needs["freeu"] and "CFG scale other than 1" in needs["seg"]
    assert explain_infotext(SCHEMA, HOST + old + ", SDFM: 1")["conditions"] == []
    neutral = explain_infotext(SCHEMA, HOST + "FreeU Stages: []")
    assert neutral["conditions"] == [] and neutral["inert"][0]["technique"] == "freeu"


def test_thresholding_needs_another_cfg_scale_unless_it_varies():
    keys = "Dynamic thresholding enabled: True, Mimic scale: 7, SDFM: 1, "
    assert "mimic scale" in explain_infotext(SCHEMA, HOST + keys)["conditions"][0]["needs"]
    for more in ("Mimic mode: Linear Down", "CFG mode: Sawtooth", "Scaling Startpoint: ZERO, Threshold percentile: 99"):
        assert explain_infotext(SCHEMA, HOST + keys + more)["conditions"] == []


def test_keys_that_nobody_understands_are_listed():
    text = (
        "Clip skip: 2, Hires upscale: 2, Tiled Diffusion: x, pag_scale_x: 3, PAG Active: True, PAG Speed: 2, Version: v1.10.1"
    )
    assert explain_infotext(PAG_ONLY, HOST + text)["unknown"] == ["Tiled Diffusion", "pag_scale_x", "PAG Speed"]


def test_errors_take_the_place_of_the_report():
    report = explain_infotext(SCHEMA, HOST + "PAG Active: True, PAG Scale: x")
    assert report["recipe"] == "original" and "techniques" not in report
    assert "PAG Scale: 'x'" in report["errors"][0]


def test_a_payload_is_explained():
    body = {"prompt": "", "alwayson_scripts": {"sdfm": {"args": [{"pag": {"scale": 2}}]}, "ControlNet": {"args": []}}}
    report = explain_payload(SCHEMA, body)
    assert report["techniques"]["pag"]["scale"] == 2 and report["errors"] == []
    assert report["unknown"] == ["controlnet"]


def test_an_old_payload_is_explained():
    old = [False, 11.0, 0, 150, False, 1.0, 0.8, 3.0, 0.0, 0, 150, 4, True, 1.5]
    report = explain_payload(SCHEMA, {"alwayson_scripts": {"Incantations": {"args": old}}})
    assert report["recipe"] == "original" and report["techniques"]["pag"]["scale"] == 1.5


def test_the_text_field_of_a_payload_counts_below_its_arguments():
    text = HOST + "PAG Active: True, PAG Scale: 2, PAG SANF: True, SDFM: 1"
    body = {"infotext": text, "alwayson_scripts": {"SDFM": {"args": [{"pag": {"scale": 5}}]}}}
    chosen = explain_payload(SCHEMA, body)["techniques"]["pag"]
    assert (chosen["scale"], chosen["sanf"]) == (5, True)


def test_a_bad_payload_is_an_error_in_the_report():
    body: dict[str, Any] = {"alwayson_scripts": {"SDFM": {"args": [{"pag": {"scale": -5}}]}}}
    assert "pag.scale: -5" in explain_payload(SCHEMA, body)["errors"][0]
    body["infotext"] = HOST + "PAG Active: True, PAG Scale: x"
    assert "PAG Scale: 'x'" in explain_payload(SCHEMA, body)["errors"][0]


@given(st.text())
def test_any_text_is_explained_as_json(text: str):
    assert json.dumps(explain_infotext(SCHEMA, HOST + text))


titles = st.sampled_from(["SDFM", "sdfm", "Incantations", "FreeU", "x"])


@given(st.dictionaries(titles, anything | st.fixed_dictionaries({"args": anything | st.lists(anything)})), anything)
def test_any_payload_is_explained_or_refused(scripts: dict, text: Any):
    try:
        assert isinstance(explain_payload(SCHEMA, {"alwayson_scripts": scripts, "infotext": text}), dict)
    except UserError as error:
        assert str(error)


TEXT = HOST + "Schedule type: Karras, Size: 64x64"
HIRES = {"enable_hr": True, "hr_scale": 2}


@pytest.mark.parametrize(
    ("body", "sampler"),
    [
        ({"sampler_name": "Euler", "scheduler": "Karras"}, {"name": "Euler", "schedule": "Karras"}),
        ({"sampler_name": "Euler", "scheduler": "sgm_uniform"}, {"name": "Euler", "schedule": "SGM Uniform"}),
        ({"sampler_name": "DPM++ 2M Karras"}, {"name": "DPM++ 2M", "schedule": "Karras"}),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "Beta"}, {"name": "DPM++ 2M", "schedule": "Beta"}),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "Automatic"}, {"name": "DPM++ 2M", "schedule": "Automatic"}),
        ({"scheduler": "Karras"}, {"name": "Euler", "schedule": "Karras"}),
        ({"infotext": TEXT}, {"name": "Euler", "schedule": "Karras"}),
        ({"infotext": TEXT, "scheduler": "Beta"}, {"name": "Euler", "schedule": "Beta"}),
        ({"infotext": TEXT, "sampler_name": "DPM++ 2M"}, {"name": "DPM++ 2M", "schedule": "Karras"}),
        (
            {"sampler_name": "Euler", "scheduler": "Karras", **HIRES},
            {"name": "Euler", "schedule": "Karras", "hires": {"name": "Euler", "schedule": "Karras"}},
        ),
        (
            {"sampler_name": "Euler", "hr_sampler_name": "dpmpp_2m_karras", "hr_scheduler": "Beta", **HIRES},
            {"name": "Euler", "schedule": "Automatic", "hires": {"name": "DPM++ 2M", "schedule": "Karras"}},
        ),
        (
            {"sampler_name": "Euler", "hr_sampler_name": "DPM++ 2M", "hr_scheduler": "Beta", **HIRES},
            {"name": "Euler", "schedule": "Automatic", "hires": {"name": "DPM++ 2M", "schedule": "Beta"}},
        ),
    ],
    ids=str,
)
def test_a_requests_sampler_and_schedule_are_those_that_the_api_takes(body: dict[str, Any], sampler: dict[str, Any]):
    report = explain_payload(SCHEMA, body)
    assert report["sampler"] == sampler and report["warnings"] == []


@pytest.mark.parametrize(
    ("body", "sampler", "named"),
    [
        ({"sampler_name": "Euler", "scheduler": "beta57"}, {"name": "Euler", "schedule": "Automatic"}, "scheduler: beta57"),
        ({"sampler_name": "Euler", "scheduler": "KARRAS"}, {"name": "Euler", "schedule": "Automatic"}, "scheduler: KARRAS"),
        ({"sampler_name": "dpmpp_2m_karras"}, None, "sampler_name: dpmpp_2m_karras"),
    ],
    ids=str,
)
def test_names_that_the_api_replaces_are_named(body: dict[str, Any], sampler: dict[str, Any] | None, named: str):
    report = explain_payload(SCHEMA, body)
    assert report["sampler"] == sampler and len(report["warnings"]) == 1 and report["warnings"][0].startswith(f"{named}: ")


def test_the_webuis_own_schedules_are_known():
    body = {"sampler_name": "Euler", "scheduler": "bong"}
    assert explain_payload(SCHEMA, body, host=HostNames(schedules=["bong"]))["sampler"] == {"name": "Euler", "schedule": "bong"}
