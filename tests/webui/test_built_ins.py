"""Scripts of the host that do what a technique does: which are on, and what a comment says of both."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.planning.explain import explain_infotext
from lib_sdfm.schema.request import apply_request
from sdfm_webui.built_ins import APG_AND_LIMITER, built_ins_on, notes_on_both


def job(title: str, *args: Any) -> SimpleNamespace:
    script = SimpleNamespace(title=lambda: title, args_from=0, args_to=len(args))
    return SimpleNamespace(scripts=SimpleNamespace(alwayson_scripts=[script]), script_args=list(args))


def notes(request: dict, title: str, *args: Any) -> list[str]:
    settings = SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), request))
    return notes_on_both(SCHEMA, settings, built_ins_on(job(title, *args)))


@pytest.mark.parametrize(("title", "args", "technique"), [
    ("RescaleCFG", [0.7], "cfg_rescale"), ("RescaleCFG", [0.0], None), ("RescaleCFG", [0.04], None),
    ("MaHiRo", [True], "mahiro"), ("MaHiRo", [False], None),
    ("FreeU Integrated (SD 1.x, SD 2.x, SDXL)", [True, 1.0], "freeu"), ("Seed", [True], None),
    ("PerturbedAttentionGuidance Integrated", [], None), ("Mahiro CFG for reForge", [True], "mahiro"),
    (APG_AND_LIMITER, [True, 0.5, 0.18, 15.0, 1.0, False, 5.42, 0.28], "apg"),
    (APG_AND_LIMITER, [False, 0.5, 0.18, 15.0, 1.0, True, 5.42, 0.28], "cfg_schedule"),
])  # fmt: skip
def test_which_are_on(title: str, args: list, technique: str | None):
    assert built_ins_on(job(title, *args)) == ([] if technique is None else [(title, technique)])


@pytest.mark.parametrize(("request_", "title", "args", "said"), [
    ({"cfg_rescale": {}}, "RescaleCFG", [0.7], "RescaleCFG is on as well, and both act"),
    ({"apg": {}}, "RescaleCFG", [0.7], "RescaleCFG is on as well, and SDFM's APG acts on its result"),
    ({"mahiro": {}}, "MaHiRo", [True], "MaHiRo is on as well, and both act"),
    ({"dynamic_thresholding": {}}, "DynamicThresholding (CFG-Fix) Integrated", [True], "SDFM's Dynamic"),
    ({"apg": {}}, APG_AND_LIMITER, [True], "SDFM's APG acts on its result"),
    ({"cfg_schedule": {"schedule": "Linear"}}, APG_AND_LIMITER, [False, 0.5, 0.18, 15.0, 1.0, True], "both act"),
    ({"pag": {}}, "MaHiRo", [True], ""), ({"pag": {}}, "RescaleCFG", [0.7], ""),
])  # fmt: skip
def test_what_is_said_of_both(request_: dict, title: str, args: list, said: str):
    found = notes(request_, title, *args)
    assert said in found[0] if said else not found


PAG = (
    "Steps: 20, Sampler: Euler, pagi_enabled: True, pagi_scale: 3.0, pagi_attenuation: 0.0, pagi_start_step: 0.0, "
    "pagi_end_step: 1.0"
)
FREEU = (
    "Steps: 20, Sampler: Euler, freeu_enabled: True, freeu_b1: 1.01, freeu_b2: 1.02, freeu_s1: 0.99, freeu_s2: 0.95, "
    "freeu_start: 0, freeu_end: 1"
)


@pytest.mark.parametrize(("line", "claimed", "technique"), [
    (PAG, {"pagi_scale", "pagi_attenuation"}, "pag"), (FREEU, {"freeu_b1", "freeu_s1"}, "freeu"),
    ("Steps: 20, Sampler: Euler, MaHiRo: True", {"MaHiRo"}, "mahiro"),
    ("Steps: 20, Sampler: Euler, Rescale CFG: 0.7", {"Rescale CFG"}, "cfg_rescale"),
])  # fmt: skip
def test_a_text_of_the_host_s_own_feature_is_the_host_s(line: str, claimed: set[str], technique: str):
    """Its switch is pasted by a function, under no name: it is no unknown key either."""
    found = explain_infotext(SCHEMA, f"a house\n{line}", claimed)
    assert technique not in found["techniques"] and found["unknown"] == [] and found["errors"] == []
    assert any("own controls; SDFM's stays off" in warning for warning in found["warnings"])
    elsewhere = explain_infotext(SCHEMA, f"a house\n{line}")
    assert technique in elsewhere["techniques"] and not any("stays off" in warning for warning in elsewhere["warnings"])


def test_what_is_off_in_the_text_is_not_said():
    found = explain_infotext(SCHEMA, "a house\n" + PAG.replace("True", "False"), {"pagi_scale"})
    assert found["unknown"] == [] and found["warnings"] == []
