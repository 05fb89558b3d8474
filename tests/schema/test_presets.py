"""Presets: the shipped ones, and a file of the user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from lib_sdfm.catalog import SCHEMA, SHIPPED_PRESETS, schema_for
from lib_sdfm.errors import SettingError, UserError
from lib_sdfm.sampling.sampler_names import SCHEDULES, resolve_sampler
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.host_values import checked_host_values
from lib_sdfm.schema.infotext import parse_infotext, read_infotext
from lib_sdfm.schema.payload import resolve_job
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
    kept, meant = (SCHEMA.resolved(SCHEMA.settings(v), ModelFacts()) for v in (again, SCHEMA.guided(values)))
    assert kept == meant


@pytest.mark.parametrize("preset", SHIPPED_PRESETS, ids=lambda preset: preset.name)
def test_shipped_presets_are_valid_and_fix_their_recipe(store: PresetStore, preset: Preset):
    assert preset.request["recipe"] in ("sdfm", "original")
    settings = SCHEMA.settings(store.values(preset.name))
    assert settings.techniques or preset.host
    assert preset.about and checked_host_values(preset.host, preset.name) == preset.host
    known = preset.host.get("sampler_name"), preset.host.get("scheduler")
    assert (known[0] is None or resolve_sampler(known[0]).sampler.name == known[0]) and (known[1] or "Beta") in SCHEDULES


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


RECIPES = {
    "Flow matching (bigASP v2.5)": ({"flow": {"shift": 6.0}}, {"scheduler": "Normal", "negative_prompt": "low quality"}),
    "Flow matching, Beta (bigASP v2.5)": ({"flow": {"shift": 1.0}}, {"scheduler": "Beta", "cfg_scale": 5}),
    "Flow matching with PAG (bigASP v2.5)": ({"flow": {"shift": 6.0}, "pag": {"scale": 2.0}}, {"cfg_scale": 3}),
    "Flow matching (ChenkinNoob-XL)": ({"flow": {"shift": 5.0}}, {"steps": 24, "cfg_scale": 5}),
    "v-prediction (NoobAI)": ({"cfg_rescale": {"phi": 0.7}, "model": {"zero_terminal_snr": True}}, {"cfg_scale": 4.5}),
    "Untitled, CFG 4.5 (AstolfoMix-XL)": ({}, {"cfg_scale": 4.5}),
    "Untitled, CFG 3 (old stack)": ({"pag": {"scale": 1.0}, "freeu": {"preset": "SDXL"}}, {"steps": 48, "cfg_scale": 3}),
    "Two models (Pony into Animagine)": ({}, {"sampler_name": "Euler a", "steps": 30, "cfg_scale": 5.5}),
}
"""Recipes of checkpoints' authors: settings and values of the WebUI that a preset must have."""


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_of_checkpoints_are_shipped(store: PresetStore, name: str):
    techniques, host = RECIPES[name]
    chosen = SCHEMA.settings(store.values(name)).techniques
    for technique, values in techniques.items():
        assert values.items() <= vars(chosen[technique]).items()
    assert host.items() <= store.get(name).host.items()


class TestPresetsInTheApi:
    """``{"preset": name}``, with values on top."""

    def settings(self, store: PresetStore, request: Any) -> Any:
        return resolve_job(schema_for(lambda field: False, lambda name: store.get(name).request), [request]).settings

    def test_values_are_set_on_top_wherever_the_name_stands(self, store: PresetStore):
        plain = self.settings(store, {"preset": "PAG"})
        assert plain.techniques == {"pag": PagSettings(scale=3.0)}
        for request in (
            {"preset": "pag ", "pag": {"scale": 2, "end_step": 9}},
            {"pag": {"scale": 2, "end_step": 9}, "preset": "PAG"},
        ):
            assert self.settings(store, request).techniques == {"pag": PagSettings(scale=2.0, end_step=9)}
        assert self.settings(store, {"preset": "PAG", "pag": False, "seg": {}}).techniques.keys() == {"seg"}

    def test_ones_own_are_known_as_well(self, store: PresetStore):
        store.save("Mine", chosen(pag__enabled=True, pag__scale=2.0), {"steps": 30})
        assert self.settings(store, {"preset": "Mine"}).techniques == {"pag": PagSettings(scale=2.0)}
        assert store.get("Mine").host == {"steps": 30}

    @pytest.mark.parametrize(
        "name, nearest", [("PGA", "'PAG'"), ("flow matching", "'Flow matching"), ("Adaptive", "'Adaptive guidance'")]
    )
    def test_an_unknown_name_is_an_error_with_the_nearest(self, store: PresetStore, name: str, nearest: str):
        with pytest.raises(SettingError, match="preset.*nearest is " + re.escape(nearest)):
            self.settings(store, {"preset": name})

    @pytest.mark.parametrize("name", [None, 3, "", [], {}])
    def test_no_name_is_an_error(self, store: PresetStore, name: Any):
        with pytest.raises(SettingError, match="preset"):
            self.settings(store, {"preset": name})

    def test_one_in_a_file_can_not_name_another(self, store: PresetStore, tmp_path: Path):
        (tmp_path / "presets.json").write_text('{"Mine": {"preset": "Mine"}}')
        with pytest.raises(SettingError, match="not another preset"):
            self.settings(store, {"preset": "Mine"})


@pytest.mark.parametrize(
    "host", [[], "x", {"seed": 1}, {"steps": "20"}, {"steps": 0}, {"cfg_scale": float("nan")}, {"sampler_name": 3}]
)
def test_bad_values_of_the_webui_are_named(store: PresetStore, host: Any):
    with pytest.raises(UserError, match="the preset 'Mine'"):
        store.save("Mine", chosen(pag__enabled=True), host)
    assert store.names() == store.shipped_names()
