"""Where the toy technique of ``tests/test_new_technique.py`` must turn up, and what finds it there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from lib_sdfm.errors import SettingError
from lib_sdfm.planning.explain import explain_payload
from lib_sdfm.schema.axes import axes_of
from lib_sdfm.schema.infotext import read_infotext, write_infotext
from lib_sdfm.schema.jsonschema import json_schema
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.presets import PresetStore
from lib_sdfm.schema.settings import Schema, Settings
from sdfm_webui.controls import build_panel
from sdfm_webui.paste import PasteTargets
from tests.webui.host import input_accordion
from tools.documents import settings_table

CHOSEN = {"amount": 2.0, "where": "first"}
VALUES = {"lift.enabled": True, **{f"lift.{name}": value for name, value in CHOSEN.items()}}
PAIRS = {"Lift Active": "True", "Lift Amount": "2", "Lift Where": "first"}
"""The same as generation parameters, in the order of :data:`VALUES`."""
KEYS = dict(zip(VALUES, PAIRS))
Found = set[str]
"""Ids of :data:`VALUES` for which a place has something, and the right thing."""


def equal_values(values: Any) -> Found:
    return {id for id, value in VALUES.items() if id in values and values[id] == value}


def in_settings(settings: Settings) -> Found:
    chosen = settings.techniques.get("lift")
    values = {f"lift.{name}": getattr(chosen, name, None) for name in CHOSEN}
    return equal_values({"lift.enabled": chosen is not None, **values})


def in_dictionary(schema: Schema, folder: Path) -> Found:
    try:
        return in_settings(resolve_job(schema, [{"lift": CHOSEN}]).settings)
    except SettingError:
        return set()


def in_json_schema(schema: Schema, folder: Path) -> Found:
    lift = json_schema(schema)["properties"].get("lift", {"anyOf": [{"properties": {}}]})
    settings = {f"lift.{name}" for name in lift["anyOf"][0]["properties"]}
    return (settings | ({"lift.enabled"} if "title" in lift else set())) & set(VALUES)


def in_positional_list(schema: Schema, folder: Path) -> Found:
    defaults = {"request": "", "notes": "", **schema.defaults()}
    args = [VALUES.get(name, defaults[name]) for name in schema.position_names]
    return in_settings(resolve_job(schema, args).settings)


def in_written_infotext(schema: Schema, folder: Path) -> Found:
    settings = schema.settings({**schema.defaults(), **{id: VALUES[id] for id in VALUES if id in schema.by_id}})
    pairs = {key: str(value) for key, value in write_infotext(schema, settings).items()}
    return {id for id, key in KEYS.items() if pairs.get(key) == PAIRS[key]}


def in_read_infotext(schema: Schema, folder: Path) -> Found:
    return equal_values(read_infotext(schema, {**PAIRS, "SDFM": "1"}).values)


def in_axes(schema: Schema, folder: Path) -> Found:
    axes = {axis.field.id: axis for axis in axes_of(schema) if axis.label.startswith("[SDFM]")}
    return equal_values({id: axes[id].values(PAIRS[key])[id] for id, key in KEYS.items() if id in axes})


def in_axes_of_the_original(schema: Schema, folder: Path) -> Found:
    axes = {axis.label: axis.field.id for axis in axes_of(schema)}
    return {axes[label] for label in ("[Lift] Active", "[Lift] Amount") if label in axes}


def in_pasted_controls(schema: Schema, folder: Path) -> Found:
    targets = PasteTargets(schema).by_id
    return equal_values({id: targets[id]({**PAIRS, "SDFM": "1"}) for id in VALUES if id in targets})


def in_panel(schema: Schema, folder: Path) -> Found:
    store = PresetStore(schema, (), folder / "presets.json")
    with gr.Blocks():
        panel = build_panel(schema, PasteTargets(schema), store, input_accordion, lambda name: f"txt2img_{name}")
    labels = {"lift.enabled": "Lifting", "lift.amount": "Lift amount", "lift.where": "Lift where"}
    shown = {name: control.label for name, control in zip(schema.position_names, panel.inputs)}
    return {id for id, label in labels.items() if shown.get(id) == label}


def in_documents(schema: Schema, folder: Path) -> Found:
    table = "".join(settings_table(schema, technique) for technique in schema.techniques)
    return {id for id in VALUES if f"| `{id}` |" in table}


def in_explanation(schema: Schema, folder: Path) -> Found:
    body = {"alwayson_scripts": {"SDFM": {"args": [{"lift": CHOSEN}]}}}
    techniques = explain_payload(schema, body).get("techniques", {})
    values = {f"lift.{name}": value for name, value in techniques.get("lift", {}).items()}
    return equal_values({"lift.enabled": "lift" in techniques, **values})


PLACES: dict[str, tuple[Callable[[Schema, Path], Found], set[str]]] = {
    "the API's dictionary has no": (in_dictionary, set(VALUES)),
    "the JSON schema has no": (in_json_schema, set(VALUES)),
    "the API's positional list has no": (in_positional_list, set(VALUES)),
    "the written generation parameters have no": (in_written_infotext, set(VALUES)),
    "generation parameters are not read for": (in_read_infotext, set(VALUES)),
    "the X/Y/Z plot has no axis for": (in_axes, set(VALUES)),
    "the X/Y/Z plot has no axis of the original for": (in_axes_of_the_original, {"lift.enabled", "lift.amount"}),
    "pasting has no control for": (in_pasted_controls, set(VALUES)),
    "the panel has no control for": (in_panel, set(VALUES)),
    "the documents have no row for": (in_documents, {"lift.amount", "lift.where"}),
    "explain has no": (in_explanation, set(VALUES)),
}
"""By the beginning of the message: what finds the toy's ids in a place, and those it should find."""


def missing_in(place: str, schema: Schema, folder: Path) -> list[str]:
    """Return a message for each id that a place lacks.

    :param folder: where the panel may keep presets
    """
    find, wanted = PLACES[place]
    found = find(schema, folder)
    return [f"{place} {id}" for id in VALUES if id in wanted - found]
