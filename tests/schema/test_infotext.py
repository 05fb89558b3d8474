"""Generation parameters: what is written is read back, whatever the host does to it in between."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema.infotext import Reading, our_keys, parse_infotext, read_infotext, write_infotext
from lib_sdfm.schema.settings import Schema, Settings
from lib_sdfm.techniques.pag import PagSettings
from tests.schema.alone import PAG_ONLY
from tests.schema.strategies import settings_of
from tests.schema.texts import HOST_PAIRS, effective, printed


def read(text_or_pairs: str | dict[str, Any], schema: Schema = PAG_ONLY) -> Reading:
    pairs = parse_infotext(text_or_pairs) if isinstance(text_or_pairs, str) else text_or_pairs
    return read_infotext(schema, pairs)


@given(settings_of(PAG_ONLY))
def test_what_is_written_is_read_back(settings: Settings):
    reading = read(printed(write_infotext(PAG_ONLY, settings)))
    assert reading.errors + reading.warnings == []
    expected = effective(settings) if settings.techniques else Settings("sdfm", {})
    assert effective(PAG_ONLY.settings(reading.values)) == expected


@given(settings_of(SCHEMA))
def test_what_is_read_is_written_again(settings: Settings):
    """All techniques: a second round through the text changes nothing any more."""
    pairs = write_infotext(SCHEMA, settings)
    reading = read(printed(pairs), SCHEMA)
    assert reading.errors + reading.warnings == []
    assert write_infotext(SCHEMA, SCHEMA.settings(reading.values)) == pairs
    assert reading.used == set(pairs)


@given(settings_of(SCHEMA))
def test_every_key_survives_the_hosts_grammar(settings: Settings):
    pairs = write_infotext(SCHEMA, settings)
    parsed = parse_infotext(printed(pairs))
    assert {key: parsed.get(key) for key in pairs} == {key: str(value) for key, value in pairs.items()}
    assert set(pairs) <= our_keys(SCHEMA)
    assert all(str(value) for value in pairs.values())  # the host can't read an empty one


@given(settings_of(SCHEMA))
def test_numbers_are_printed_without_a_needless_fraction(settings: Settings):
    values = write_infotext(SCHEMA, settings).values()
    assert not any(isinstance(value, float) and value.is_integer() for value in values)


def pag(recipe: str = "sdfm", **chosen: Any) -> Settings:
    return Settings(recipe, {"pag": PagSettings(**chosen)})


def line(settings: Settings, schema: Schema = PAG_ONLY) -> str:
    return ", ".join(f"{key}: {value}" for key, value in write_infotext(schema, settings).items())


def test_all_keys_of_an_active_technique_are_written_as_the_original_did():
    settings = pag(sanf=True, scale=1.0, end_step=2048)
    assert line(settings) == ("PAG Active: True, PAG SANF: True, PAG Scale: 1, PAG Start Step: 0, PAG End Step: 2048, SDFM: 1")
    assert line(pag("original", scale=1.5)).endswith(
        "PAG SANF: False, PAG Scale: 1.5, PAG Start Step: 0, PAG End Step: 150, SDFM Recipe: original, SDFM: 1"
    )


def test_our_own_keys_follow_and_are_omitted_at_their_default():
    settings = pag(layers="middle.0", adaptive=0.1, hires_scale=2.0, hires_end_step=150, hires_adaptive=0.0)
    assert line(settings) == (
        "PAG Active: True, PAG SANF: False, PAG Scale: 3, PAG Start Step: 0, PAG End Step: 150, "
        "PAG Layers: middle.0, PAG Adaptive: 0.1, PAG Hires Scale: 2, PAG Hires Adaptive: 0, SDFM: 1"
    )


@pytest.mark.parametrize("recipe", ["sdfm", "original"])
def test_nothing_is_written_when_nothing_is_active(recipe: str):
    assert write_infotext(SCHEMA, Settings(recipe, {})) == {}


@given(settings_of(SCHEMA))
def test_the_format_version_is_last_and_ranks_ascend(settings: Settings):
    keys = list(write_infotext(SCHEMA, settings))
    ranked = [t.active_key for t in sorted(SCHEMA.techniques, key=lambda t: (t.on_by_default, t.rank)) if t.active_key in keys]
    assert [key for key in keys if key in ranked] == ranked
    assert keys[-1:] in ([], ["SDFM"])


def test_reading_nothing_means_off():
    for pairs in ({}, HOST_PAIRS, {"SDFM": "1"}):
        reading = read(pairs, SCHEMA)
        assert reading.values == SCHEMA.defaults()
        assert reading.errors + reading.warnings == []


def test_a_foreign_text_is_of_recipe_original_and_ours_says_its_recipe():
    assert read({"PAG Active": "True", "PAG Scale": "1"}).values["recipe"] == "original"
    assert read({"PAG Active": "True", "PAG Scale": "1", "SDFM": "1"}).values["recipe"] == "sdfm"
    assert read({"PAG Active": "True", "PAG Scale": "1", "SDFM Recipe": "original", "SDFM": "1"}).values["recipe"] == "original"
    assert read({"SCFG Active": "True"}).values["recipe"] == "original"


def test_missing_keys_have_the_default_of_the_format():
    values = read({"PAG Active": "True", "SDFM": "1"}).values
    assert {id: value for id, value in values.items() if id.startswith("pag.")} == {
        **{id: value for id, value in PAG_ONLY.defaults().items() if id.startswith("pag.")}, "pag.enabled": True,
    }  # fmt: skip


def test_a_foreign_text_without_a_window_has_none():
    """The first versions of incantations wrote two keys."""
    values = read({"PAG Active": "True", "PAG Scale": "1"}).values
    assert (values["pag.start_step"], values["pag.end_step"], values["pag.sanf"]) == (0, 150, False)


@pytest.mark.parametrize(("text", "sanf"), [("True", True), ("False", False)])
def test_a_switch_is_read_by_its_value_not_by_its_presence(text: str, sanf: bool):
    assert read({"PAG Active": "True", "PAG SANF": text}).values["pag.sanf"] is sanf
    assert read({"PAG Active": text, "PAG Scale": "2"}).values["pag.enabled"] is sanf


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("PAG Scale", "strong"),
        ("PAG Scale", ""),
        ("PAG Scale", "-1"),
        ("PAG Scale", "101"),
        ("PAG Scale", "nan"),
        ("PAG Scale", "inf"),
        ("PAG Scale", "9" * 400),
        ("PAG Start Step", "1.5"),
        ("PAG End Step", "last"),
        ("PAG SANF", "maybe"),
        ("PAG Active", "1"),
        ("PAG Layers", "somewhere"),
        ("PAG Layers", "output.5.4-2"),
        ("PAG Hires Scale", "None"),
        ("SDFM Recipe", "both"),
        ("SDFM", "one"),
        ("SDFM", "-1"),
    ],
)
def test_nonsense_is_an_error_that_names_the_key(key: str, text: str):
    reading = read({"PAG Active": "True", "SDFM": "1", key: text})
    assert len(reading.errors) == 1 and reading.errors[0].startswith(f"{key}: ")
    assert "Allowed: " in reading.errors[0]


def test_all_errors_are_collected():
    reading = read({"PAG Active": "True", "PAG Scale": "a", "PAG End Step": "b", "SDFM": "c", "SDFM Recipe": "d"})
    assert len(reading.errors) == 4


def test_our_settings_in_a_text_of_recipe_original_are_an_error():
    reading = read({"PAG Active": "True", "PAG Adaptive": "0.5", "SDFM Recipe": "original", "SDFM": "1"})
    assert "PAG Adaptive" in reading.errors[0] and "as the old extensions" in reading.errors[0]


def test_a_newer_format_is_a_warning():
    reading = read({"PAG Active": "True", "PAG Scale": "2", "SDFM": "2"})
    assert reading.errors == [] and reading.values["pag.scale"] == 2
    assert "newer version" in reading.warnings[0]


def test_settings_without_their_switch_are_a_warning():
    reading = read({"PAG Scale": "2", "SDFM": "1"})
    assert reading.values == PAG_ONLY.defaults()
    assert "PAG Scale was ignored, because PAG Active is missing" in reading.warnings[0]


@pytest.mark.parametrize("key", ["SCFG Active", "T2I-0 Active", "INCANT Active"])
def test_features_that_were_not_built_are_a_warning(key: str):
    assert any(key in warning for warning in read({key: "True"}, SCHEMA).warnings)
    assert read({key: "False"}, SCHEMA).warnings == []


@given(st.dictionaries(st.sampled_from(sorted(our_keys(SCHEMA))), st.text()))
def test_reading_never_raises(pairs: dict[str, str]):
    reading = read(pairs, SCHEMA)
    assert set(reading.values) == set(SCHEMA.by_id)
    assert reading.used <= set(pairs)


@pytest.mark.parametrize("text", ["9" * 5000, f"[{'9' * 5000}]", "[" * 100_000, "1e999", "\x00", "²"], ids=range(6))
def test_reading_never_raises_for_monsters(text: str):
    switches = {technique.active_key: "True" for technique in SCHEMA.techniques}
    for key in our_keys(SCHEMA):
        assert set(read({**switches, key: text}, SCHEMA).values) == set(SCHEMA.by_id), key


class TestGrammar:
    """Parse as the host's own parser does."""

    @pytest.mark.parametrize(
        ("pairs", "parsed"),
        [
            ("Key: value", {"Key": "value"}),
            ("A key-1/b_2: x y", {"A key-1/b_2": "x y"}),
            ("Ключ: значение", {"Ключ": "значение"}),
            ('Quoted: "a, b: c\\n\\"d\\""', {"Quoted": 'a, b: c\n"d"'}),
            ('Empty text: ""', {"Empty text": ""}),
            ("Empty: , After: 1", {"After": "1"}),
            ("Same: 1, Same: 2", {"Same": "2"}),
            ("CFG++ eta: 1", {"eta": "1"}),
            ("Foo.bar: 1", {"bar": "1"}),
            ("Key (old): 1", {}),
            ("K: 1", {}),
            ("Scale:1,Other:2", {"Scale": "1", "Other": "2"}),
            ('Broken: "a, Next: 1', {"Broken": '"a', "Next": "1"}),
            ("Colon: a:b", {"Colon": "a:b"}),
        ],
    )
    def test_pairs(self, pairs: str, parsed: dict[str, str]):
        base = {"Steps": "20", "Sampler": "Euler", "Seed": "1"}
        assert parse_infotext(f"Steps: 20, Sampler: Euler, Seed: 1, {pairs}") == {**base, **parsed}

    def test_a_last_line_with_fewer_than_three_pairs_is_prompt(self):
        assert parse_infotext("Steps: 20, PAG Active: True") == {}
        assert parse_infotext("Steps: 20, PAG Active: True, Seed: 1\nand a cat") == {}
        assert parse_infotext("") == {}

    @given(st.text())
    def test_it_takes_any_text(self, text: str):
        assert all(isinstance(value, str) for value in parse_infotext(text).values())
