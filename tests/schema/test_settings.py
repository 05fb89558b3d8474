"""Settings from the positional list and from the dictionary, and their validation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError, UserError
from lib_sdfm.schema.infotext import read_infotext, write_infotext
from lib_sdfm.schema.params import params_of
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.request import apply_request
from lib_sdfm.schema.settings import Schema, Settings
from lib_sdfm.techniques.pag import Pag, PagSettings
from tests.schema.alone import PAG_ONLY
from tests.schema.strategies import HUGE, allowed_values, settings_of
from tests.schema.texts import effective

PAG_PLACES = [
    "request", "recipe", "notes", "pag.enabled", "pag.sanf", "pag.scale", "pag.start_step", "pag.end_step", "pag.layers",
    "pag.adaptive", "pag.rescale", "pag.hires_scale", "pag.hires_start_step", "pag.hires_end_step", "pag.hires_adaptive",
    "pag.hires_rescale", "pag.hires",
]  # fmt: skip
"""Append-only: programs count places."""


def test_the_places_of_the_positional_list_are_pinned():
    assert PAG_ONLY.position_names == [*PAG_PLACES, "pag.sigma_from", "pag.sigma_to"]
    assert SCHEMA.position_names[: len(PAG_PLACES)] == PAG_PLACES


def test_every_place_is_taken_once():
    assert len(set(SCHEMA.position_names)) == len(SCHEMA.position_names) == len(SCHEMA.fields) + 2
    places = [place for technique in SCHEMA.techniques for place in technique.positions]
    assert sorted(places) == list(range(3, 3 + len(places)))


@pytest.mark.parametrize(("places", "problem"), [(range(4, 20), "gaps"), (range(2, 18), "twice"), (range(3, 18), "positions")])
def test_wrong_places_are_refused_when_the_list_is_made(places: range, problem: str):
    wrong = type("Wrong", (Pag,), {"positions": tuple(places)})
    with pytest.raises(TypeError, match=problem):
        assert Schema((wrong,)).positional


@pytest.mark.parametrize("part", ["name", "label", "title", "active_key", "rank"])
def test_techniques_are_told_apart(part: str):
    values = [getattr(technique, part) for technique in SCHEMA.techniques]
    assert len(set(values)) == len(values)


def test_keys_are_told_apart():
    """Two techniques may share a key only if they mean one setting by it."""
    keys = [param.key for technique in SCHEMA.techniques for param in params_of(technique.Settings)]
    assert len(set(keys)) == len(keys)


def positional(settings: Settings, schema: Schema) -> list[Any]:
    """The list that the panel's controls give for settings: a control that follows another shows that one's value."""
    args: list[Any] = ["", settings.recipe, ""]
    for field in schema.positional[3:]:
        own = settings.techniques.get(field.technique.name)
        chosen = own if own is not None else field.technique.Settings()
        optional = [p for p in params_of(field.technique.Settings) if p.optional]
        if field.role == "switch":
            args.append(own is not None or field.technique.is_master)
        elif field.role == "hires":
            args.append(any(getattr(chosen, p.name) is not None for p in optional))
        else:
            value = getattr(chosen, field.param.name)
            args.append(getattr(chosen, field.param.follows) if value is None and field.param.optional else value)
    return args


@given(settings_of(SCHEMA))
def test_the_positional_list_says_everything(settings: Settings):
    again = resolve_job(SCHEMA, positional(settings, SCHEMA)).settings
    assert effective(again) == effective(settings)


@given(settings_of(PAG_ONLY), st.integers(0, 19))
def test_a_shorter_list_leaves_the_rest_at_defaults(settings: Settings, length: int):
    values = PAG_ONLY.from_positional(positional(settings, PAG_ONLY)[:length])
    late = [field.id for field in PAG_ONLY.positional[length:] if field is not None]
    assert {id: values[id] for id in late if "hires" not in id} == {
        id: PAG_ONLY.defaults()[id] for id in late if "hires" not in id
    }


def test_hires_values_count_only_with_their_switch():
    controls = ["", "sdfm", "", True, False, 3.0, 0, 150, "middle", 0.0, 0.0, 9.0, 5, 6, 0.5, 0.5]
    off = resolve_job(PAG_ONLY, [*controls, False]).settings.techniques["pag"]
    on = resolve_job(PAG_ONLY, [*controls, True]).settings.techniques["pag"]
    assert off == PagSettings()
    assert (on.hires_scale, on.hires_start_step, on.hires_rescale) == (9.0, 5, 0.5)


@given(settings_of(SCHEMA))
def test_the_dictionary_says_everything(settings: Settings):
    said = {**settings.techniques, **settings.by_default}
    chosen = {name: own and {p.name: getattr(own, p.name) for p in params_of(type(own))} for name, own in said.items()}
    chosen = {name: False if own is None else own for name, own in chosen.items()}
    assert resolve_job(SCHEMA, [{"recipe": settings.recipe, **chosen}]).settings == settings


def test_naming_a_technique_turns_it_on():
    assert resolve_job(SCHEMA, [{"pag": {}}]).settings == Settings("sdfm", {"pag": PagSettings()})
    assert resolve_job(SCHEMA, [{"pag": True}]).settings == Settings("sdfm", {"pag": PagSettings()})
    assert resolve_job(SCHEMA, [{"pag": False}]).settings == Settings("sdfm", {})
    assert resolve_job(SCHEMA, [{}]).settings == Settings("sdfm", {})
    assert resolve_job(SCHEMA, [{"recipe": "original"}]).settings == Settings("original", {})


def test_the_dictionary_goes_on_top_of_positional_values():
    args = [{"pag": {"scale": 5}}, "sdfm", "", True, True, 2.0]
    assert resolve_job(PAG_ONLY, args).settings.techniques == {"pag": PagSettings(sanf=True, scale=5.0)}


@pytest.mark.parametrize(
    "request_",
    [
        {"PAG": {}},
        {"pag": {"Scale": 3}},
        {"pag": {"hires": True}},
        {"pag": {"enabled": 1}},
        {"pag": None},
        {"pag": []},
        {"pag": 1},
        {"pag": "on"},
        {"recipe": None},
        {"recipe": "SDFM"},
        {"pag": {"scale": None}},
        {"pag": {"scale": True}},
        {"pag": {"scale": "3"}},
        {"pag": {"scale": HUGE}},
        {"pag": {"end_step": -1}},
        {"pag": {"end_step": 2.5}},
        {"pag": {"layers": ""}},
        {"pag": {"layers": 3}},
        {"pag": {"hires_scale": 101}},
    ],
    ids=lambda request_: str(request_)[:40],
)
def test_the_dictionary_is_strict(request_: dict):
    with pytest.raises(SettingError) as caught:
        resolve_job(SCHEMA, [request_])
    assert "Allowed: " in str(caught.value)


def test_whole_numbers_may_be_floats_and_floats_whole():
    chosen = resolve_job(SCHEMA, [{"pag": {"scale": 2, "end_step": 20.0}}]).settings.techniques["pag"]
    assert (type(chosen.scale), type(chosen.end_step)) == (float, int)
    assert (chosen.scale, chosen.end_step) == (2.0, 20)


@given(st.data())
def test_settings_of_recipe_sdfm_are_refused_in_recipe_original(data: st.DataObject):
    own = [f for f in SCHEMA.fields if f.role == "setting" and "original" not in f.param.recipes]
    field = data.draw(st.sampled_from(own))
    value = data.draw(allowed_values(field.param))
    assume(value not in (field.param.default, field.control_default))  # the first pass' value changes nothing in the hires pass
    request_ = {"recipe": "original", field.technique.name: {field.param.name: value}}
    with pytest.raises(SettingError, match="as the old extensions"):
        resolve_job(SCHEMA, [request_])


@given(st.data())
def test_every_allowed_value_is_accepted_and_kept(data: st.DataObject):
    field = data.draw(st.sampled_from([f for f in PAG_ONLY.fields if f.role == "setting"]))
    value = data.draw(allowed_values(field.param))
    settings = PAG_ONLY.settings(apply_request(PAG_ONLY, PAG_ONLY.defaults(), {"pag": {field.param.name: value}}))
    assert getattr(settings.techniques["pag"], field.param.name) == value


@pytest.mark.parametrize("field", [f for f in SCHEMA.fields if f.param.kind in ("number", "integer")], ids=lambda f: f.id)
def test_bounds_hold_on_both_sides(field: Any):
    param = field.param
    assert param.check(param.minimum) == param.minimum
    with pytest.raises(SettingError, match=str(param.key)):
        param.check(param.minimum - 1)
    if param.maximum is not None:
        assert param.check(param.maximum) == param.maximum
        with pytest.raises(UserError):
            param.check(param.maximum + 1)


@pytest.mark.parametrize("field", SCHEMA.fields, ids=lambda f: f.id)
def test_defaults_are_allowed_and_controls_have_one(field: Any):
    assert field.param.check(field.param.default) == field.param.default
    assert field.control_default is not None
    assert field.param.label and field.param.help


class TestGuidanceSwitch:
    """The switch for all guidance."""

    def test_off_no_technique_acts_or_is_checked_or_written(self):
        request = {"pag": {"layers": "nowhere"}, "apg": {}, "fdg": {}, "model": {"kind": "v-prediction"}, "guidance": False}
        settings = resolve_job(SCHEMA, [{**request, "refiner_sync": False}]).settings
        assert set(settings.techniques) == {"model"} and settings.by_default == {"refiner_sync": None}
        assert set(write_infotext(SCHEMA, settings)) == {"Model Kind", "Refiner Sync", "SDFM"}

    def test_on_it_changes_nothing_and_is_not_written(self):
        on, unsaid = (resolve_job(SCHEMA, [{"pag": {}, **said}]).settings for said in ({"guidance": True}, {}))
        assert on == unsaid and write_infotext(SCHEMA, on) == write_infotext(SCHEMA, unsaid)

    def test_it_is_the_last_value_of_the_list(self):
        args = ["", *([SCHEMA.positional[1].param.default, ""])]
        values = {**SCHEMA.defaults(), "pag.enabled": True, "guidance.enabled": False}
        args += [values[field.id] for field in SCHEMA.positional[3:]]
        assert resolve_job(SCHEMA, args).settings.techniques == {}
        assert set(resolve_job(SCHEMA, args[: SCHEMA.by_id["guidance.enabled"].position]).settings.techniques) == {"pag"}

    def test_a_text_turns_it_on(self):
        assert read_infotext(SCHEMA, {"PAG Active": "True", "SDFM": "1"}).values["guidance.enabled"] is True

    def test_it_must_be_true_or_false(self):
        with pytest.raises(SettingError, match="SDFM Guidance: 'no' is not valid"):
            SCHEMA.settings({**SCHEMA.defaults(), "guidance.enabled": "no"})
