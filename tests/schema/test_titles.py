"""Payloads under the titles of other WebUIs mean what their texts mean."""

from __future__ import annotations

from typing import Any

import pytest

from lib_sdfm.catalog import SCHEMA, schema_for
from lib_sdfm.errors import UserError
from lib_sdfm.planning.explain import explain_payload
from lib_sdfm.schema.infotext import parse_infotext, read_infotext
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.titles import OTHER_ENTRIES
from tests.schema.foreign_texts import text

ENTRIES = {entry.title: entry for entry in OTHER_ENTRIES}
PAG = [True, 4.0, 0.2, "full", 0.1, "middle", 0, "", False, 7.0, 3.0, 0.0, "full", 0.0, -1.0, -1.0]
SEG = [True, 4.0, 0.0, "full", 4.0, "output", 3, "d2.2-9", False, 7.0, 2.0, 0.0, "full", 4.0, -1.0, -1.0]


@pytest.mark.parametrize(
    ("title", "args", "keys"),
    [
        ("Perturbed-Attention Guidance", PAG, "pag_enabled: True, pag_scale: 4, pag_rescale: 0.2, pag_adaptive_scale: 0.1"),
        (
            "Smoothed Energy Guidance", SEG, "seg_enabled: True, seg_scale: 4, seg_block_list: d2.2-9, "
            "seg_blur_sigma: 4",
        ),
        ("Normalized Attention Guidance", [True, "", 3.0, 2.5, 0.5], "nag_enabled: True, nag_scale: 3"),
        (
            "FreeU Integrated (SD 1.x, SD 2.x, SDXL)", [True, 1.3, 1.4, 0.9, 0.2, 0.0, 1.0],
            "freeu_enabled: True, freeu_b1: 1.3, freeu_b2: 1.4, freeu_s1: 0.9, freeu_s2: 0.2",
        ),
        ("PerturbedAttentionGuidance Integrated", [True, 2.5, 0.0, 0.0, 1.0], "pagi_enabled: True, pagi_scale: 2.5"),
        ("RescaleCFG for reForge", [True, "Normal", 0.6], "rescale_cfg_enabled: True, rescale_cfg_multiplier: 0.6"),
        ("Mahiro CFG for reForge", [True], "mahiro_cfg_enabled: True"),
        ("RescaleCFG", [0.7], "Rescale CFG: 0.7"),
        ("MaHiRo", [True], "MaHiRo: True"),
        ("APG (Adaptive Projected Guidance)", [True, 0.0, 12, -0.3], "APG Eta: 0, APG Norm Threshold: 12, APG Momentum: -0.3"),
        (
            "DynamicThresholding (CFG-Fix) Integrated", [True, 5, 0.95], "dynthres_enabled: True, dynthres_mimic_scale: 5, "
            "dynthres_threshold_percentile: 0.95",
        ),
        (
            "DynamicThresholding (CFG-Fix) Integrated", [True, True, 6, 0.9], "dynthres_enabled: True, "
            "dynthres_simple_mode: True, dynthres_mimic_scale: 6, dynthres_threshold_percentile: 0.9",
        ),
    ],
)  # fmt: skip
def test_a_payload_is_its_text(title: str, args: list[Any], keys: str):
    entry = ENTRIES[title]
    padded = [*args, *[""] * (entry.size - len(args))]
    settings = resolve_job(SCHEMA, [], [(entry, padded)]).settings
    reading = read_infotext(SCHEMA, parse_infotext(text(keys)))
    assert settings.techniques and settings == SCHEMA.settings(reading.values) and settings.recipe == "sdfm"
    assert resolve_job(SCHEMA, [], [(entry, [False, *padded[1:]])]).settings.techniques == {}
    assert explain_payload(SCHEMA, {"alwayson_scripts": {title: {"args": args}}})["errors"] == []


@pytest.mark.parametrize(("title", "args"), [("Perturbed-Attention Guidance", PAG), ("Smoothed Energy Guidance", SEG)])
def test_windows_and_values_of_the_hires_pass_in_a_payload(title: str, args: list[Any]):
    override = [*args[:8], True, 4.5, 2.0, *args[11:14], 15.0, 5.42]
    settings = resolve_job(SCHEMA, [], [(ENTRIES[title], override)]).settings
    (name,) = set(settings.techniques) - {"hires_cfg"}
    own = settings.techniques[name]
    assert (own.sigma_from, own.sigma_to, own.hires_scale) == (15.0, 5.42, 2.0)
    assert settings.techniques["hires_cfg"].scale == 4.5
    with pytest.raises(UserError, match="hr_cfg: 4.5: the CFG scale of the hires pass is this WebUI's own field"):
        resolve_job(schema_for({"hr_cfg"}.__contains__), [], [(ENTRIES[title], override)])
    without = resolve_job(schema_for({"hr_cfg"}.__contains__), [], [(ENTRIES[title], [*override[:9], "", *override[10:]])])
    assert set(without.settings.techniques) == {name}


def test_the_script_with_two_switches():
    entry = ENTRIES['"APG\'s now your CFG" and Guidance Limiter for reForge']
    apg, limiter = [0.5, 0.18, 15.0, 1.0], [5.0, 0.3]
    settings = resolve_job(SCHEMA, [], [(entry, [False, *apg, True, *limiter])]).settings
    assert list(settings.techniques) == ["cfg_schedule"] and settings.techniques["cfg_schedule"].high == 5.0
    assert resolve_job(SCHEMA, [], [(entry, [False, *apg, False, *limiter])]).settings.techniques == {}
    with pytest.raises(UserError, match="apgisyourcfg_enabled"):
        resolve_job(SCHEMA, [], [(entry, [True, *apg, False, *limiter])])


def test_what_has_no_counterpart_is_refused():
    with pytest.raises(UserError, match="pagi_attenuation"):
        resolve_job(SCHEMA, [], [(ENTRIES["PerturbedAttentionGuidance Integrated"], [True, 2.5, 5.0, 0.0, 1.0])])


def test_titles_are_told_apart():
    assert len({entry.title.lower() for entry in OTHER_ENTRIES}) == len(OTHER_ENTRIES)
