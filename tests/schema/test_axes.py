"""X/Y/Z axes."""

from __future__ import annotations

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError
from lib_sdfm.schema.axes import ALL_OLD, Axis, axes_of
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Settings
from lib_sdfm.techniques.pag import PagSettings

AXES = {axis.label: axis for axis in axes_of(SCHEMA)}


def typed(axis: Axis, text: str) -> object:
    """Return the value that the plot makes of a typed one."""
    return axis.values(axis.type(text))[axis.field.id]


def test_labels_are_told_apart():
    assert len(AXES) == len(axes_of(SCHEMA))


def test_every_setting_has_an_axis_and_pag_those_of_the_original():
    assert {axis.field.id for axis in AXES.values()} == {field.id for field in SCHEMA.fields if field.role != "hires"}
    originals = ["Active", "SANF", "PAG Scale", "PAG Start Step", "PAG End Step"]
    assert {f"[PAG] {label}" for label in originals} <= set(AXES)
    assert AXES["[PAG] PAG Scale"].field is AXES["[SDFM] PAG scale"].field


@pytest.mark.parametrize("axis", AXES.values(), ids=list(AXES))
def test_what_an_axis_offers_it_takes(axis: Axis):
    for choice in axis.choices:
        assert list(axis.values(axis.type(choice))) == [axis.field.id]
    default = axis.field.control_default
    assert typed(axis, str(default)) == default


@pytest.mark.parametrize(
    ("label", "text", "value"),
    [
        ("[PAG] PAG Scale", "2.5", 2.5),
        ("[PAG] PAG End Step", "2048", 2048),
        ("[PAG] Active", "False", False),
        ("[SDFM] PAG layers", "input.1, middle", "input.1, middle"),
        ("[SDFM] Recipe", "original", "original"),
        ("[DynThres] Separate Feature Channels", "0", False),
        ("[FreeU] Version", "Version 1", "1"),
        ("[FreeU] Preset", "SDXL Recommendations", "SDXL"),
    ],
)
def test_typed_values_are_converted(label: str, text: str, value: object):
    assert typed(AXES[label], text) == value


def test_mimic_scale_0_switches_thresholding_off_on_the_axis_of_the_original_alone():
    assert AXES["[DynThres] Mimic Scale"].values(0.0) == {"dynamic_thresholding.enabled": False}
    assert AXES["[SDFM] Mimic scale"].values(0.0) == {"dynamic_thresholding.mimic_scale": 0.0}


@pytest.mark.parametrize(
    ("label", "text", "legend"),
    [
        ("[SDFM] PAG scale", "2.50000000001", "PAG scale: 2.5"),
        ("[SDFM] PAG end step", "150", "PAG end step: 150"),
        ("[SDFM] Perturbed-attention guidance (PAG)", "True", "PAG: on"),
        ("[SDFM] Saliency-adaptive fusion (SANF)", "False", "Saliency-adaptive fusion (SANF): off"),
        ("[SDFM] Recipe", "original", "Recipe: original"),
        ("[PAG] Active", "False", "[PAG] Active: False"),
        ("[DynThres] Mimic Scale", "7", "[DynThres] Mimic Scale: 7"),
        ("[SDFM] PAG layers", "input.1,middle", "PAG layers: input.1, middle"),
        ("[SDFM] NAG negative prompt", "a" * 30 + " b" * 9, "NAG negative prompt: " + "a" * 27 + "…" + " b" * 6),
    ],
)  # fmt: skip
def test_legends_are_short(label: str, text: str, legend: str):
    assert AXES[label].legend(AXES[label].type(text)) == legend


def test_axes_of_the_hires_pass_and_of_stages_are_rare():
    rare = {label for label, axis in AXES.items() if axis.rare}
    assert {label for label in AXES if "hires" in label.lower() or "Stage" in label or " stage " in label} <= rare
    assert not {"[SDFM] PAG scale", "[SDFM] FreeU preset", "[SDFM] Recipe", "[FreeU] Enabled"} & rare
    assert list(AXES)[-len(rare) :] == [label for label in AXES if label in rare]


@pytest.mark.parametrize(
    ("label", "text"),
    [("[PAG] PAG Scale", "-1"), ("[PAG] SANF", "perhaps"), ("[SDFM] PAG layers", "x"), ("[SDFM] Recipe", "x")],
)
def test_bad_values_are_refused_by_name(label: str, text: str):
    with pytest.raises(SettingError, match=AXES[label].field.param.key):
        typed(AXES[label], text)


def test_an_axis_of_a_setting_turns_its_technique_on():
    job = resolve_job(SCHEMA, [], axes={"pag.scale": 2.0})
    assert job.settings == Settings("sdfm", {"pag": PagSettings(scale=2.0)})


def test_unless_another_axis_says_otherwise():
    for axes in ({"pag.scale": 2.0, "pag.enabled": False}, {"pag.enabled": False, "pag.scale": 2.0}):
        assert resolve_job(SCHEMA, [], axes=axes).settings.techniques == {}


def test_axes_go_on_top_of_what_the_panel_says():
    args = ["", "original", "", True, True, 1.0, 2, 5]
    job = resolve_job(SCHEMA, args, axes={"pag.end_step": 9, "recipe": "sdfm"})
    assert job.settings == Settings("sdfm", {"pag": PagSettings(sanf=True, scale=1.0, start_step=2, end_step=9)})


@pytest.mark.parametrize(
    ("args", "axes", "recipe"),
    [
        ([], {"pag.scale": 2.0, ALL_OLD: True}, "original"),
        ([], {"pag.scale": 2.0, "seg.blur": 9.0, ALL_OLD: True}, "original"),
        ([], {"pag.scale": 2.0, ALL_OLD: False}, "sdfm"),
        ([], {"pag.scale": 2.0}, "sdfm"),
        ([], {"pag.scale": 2.0, "recipe": "sdfm", ALL_OLD: False}, "sdfm"),
        ([{"pag": {}}], {"pag.scale": 2.0, ALL_OLD: True}, "sdfm"),
        ([{"recipe": "original", "pag": {}}], {"pag.scale": 2.0, ALL_OLD: True}, "original"),
    ],
)
def test_axes_of_the_originals_mean_recipe_original_where_nothing_else_is_on(args: list, axes: dict, recipe: str):
    settings = resolve_job(SCHEMA, args, axes=axes).settings
    assert settings.recipe == recipe and settings.techniques["pag"].scale == 2.0
