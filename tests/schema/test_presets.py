"""Presets: the shipped ones, and a file of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from lib_sdfm.catalog import SCHEMA, SHIPPED_PRESETS
from lib_sdfm.errors import UserError
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.infotext import parse_infotext, read_infotext
from lib_sdfm.schema.presets import Preset, PresetStore, request_of
from lib_sdfm.schema.request import apply_request
from lib_sdfm.techniques.pag import PagSettings
from tests.schema.published import A
from tests.schema.strategies import values_of


@pytest.fixture
def store(tmp_path: Path) -> PresetStore:
    return PresetStore(SCHEMA, SHIPPED_PRESETS, tmp_path / "presets.json")


def chosen(**values: Any) -> dict[str, Any]:
    return {**SCHEMA.defaults(), **{id.replace("__", "."): value for id, value in values.items()}}


@given(values_of(SCHEMA))
def test_values_and_the_dictionary_that_is_kept_mean_the_same(values: dict[str, Any]):
    again = apply_request(SCHEMA, SCHEMA.defaults(), request_of(SCHEMA, values))
    kept, meant = (SCHEMA.resolved(SCHEMA.settings(v), ModelFacts()) for v in (again, values))
    assert kept == meant


@pytest.mark.parametrize("preset", SHIPPED_PRESETS, ids=lambda preset: preset.name)
def test_shipped_presets_are_valid_and_fix_their_recipe(store: PresetStore, preset: Preset):
    assert preset.request["recipe"] in ("sdfm", "original")
    assert SCHEMA.settings(store.values(preset.name)).techniques
    assert preset.about


def test_a_shipped_preset_is_the_published_picture(store: PresetStore):
    published = SCHEMA.settings(read_infotext(SCHEMA, parse_infotext(A)).values)
    assert published in [SCHEMA.settings(store.values(name)) for name in store.shipped_names()]


def test_a_saved_preset_is_there_for_the_next_start(store: PresetStore, tmp_path: Path):
    store.save(" Mine ", chosen(pag__enabled=True, pag__scale=2.0))
    again = PresetStore(SCHEMA, SHIPPED_PRESETS, tmp_path / "presets.json")
    assert again.names() == [*store.shipped_names(), "Mine"]
    assert SCHEMA.settings(again.values("Mine")).techniques == {"pag": PagSettings(scale=2.0)}
    again.delete("Mine")
    assert store.names() == store.shipped_names()
    assert [path.name for path in tmp_path.iterdir()] == ["presets.json"]  # no leftovers


def test_loading_a_preset_switches_everything_else_off(store: PresetStore):
    store.save("Nothing", SCHEMA.defaults())
    assert store.values("Nothing") == SCHEMA.defaults()


@pytest.mark.parametrize("name", ["", "  ", SHIPPED_PRESETS[0].name])
def test_names_that_cannot_be_used_are_refused(store: PresetStore, name: str):
    with pytest.raises(UserError, match="name of your own"):
        store.save(name, SCHEMA.defaults())


def test_bad_values_are_not_kept(store: PresetStore):
    with pytest.raises(UserError, match="PAG Scale"):
        store.save("Mine", chosen(pag__enabled=True, pag__scale=-2.0))
    assert store.names() == store.shipped_names()


@pytest.mark.parametrize("name", ["", "unknown", None])
def test_unknown_presets_are_refused(store: PresetStore, name: Any):
    with pytest.raises(UserError):
        store.values(name)
    with pytest.raises(UserError):
        store.delete(name)


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff", '{"Mine": 5}', '{"Mine": {"pog": {}}}', '{"Mine": {"pag": 5}}'])
def test_a_damaged_file_is_an_error_in_words(tmp_path: Path, content: str):
    (tmp_path / "presets.json").write_bytes(content.encode("latin1"))
    store = PresetStore(SCHEMA, SHIPPED_PRESETS, tmp_path / "presets.json")
    with pytest.raises(UserError):
        store.values("Mine")
    assert store.shipped_names()
