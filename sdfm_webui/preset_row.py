"""The row of the panel that loads, saves and deletes presets, and resets."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lib_sdfm.errors import UserError
from lib_sdfm.schema.presets import PresetStore
from lib_sdfm.schema.settings import Schema

from .events import ONE_AT_A_TIME, QUIET, press


@dataclass(frozen=True)
class PresetRow:
    """The row's id and its components."""

    id: str
    name: Any
    load: Any
    save: Any
    delete: Any
    reset: Any
    message: Any


def build_preset_row(presets: PresetStore, elem_id: Callable[[str], str]) -> PresetRow:
    """Build the components."""
    id = elem_id("presets")
    with gr.Row(elem_id=id, elem_classes=["sdfm-presets", ONE_AT_A_TIME]):
        name = gr.Dropdown(
            _names(presets), value=None, label="Preset", elem_id=elem_id("preset"), allow_custom_value=True, scale=4,
            min_width=200, info="Choose one and load it, or type a name and save the present settings under it.",
        )  # fmt: skip
        buttons = [
            gr.Button(text, elem_id=elem_id(f"preset_{text.lower()}"), size="sm", min_width=60, scale=1)
            for text in ("Load", "Save", "Delete", "Reset")
        ]
    message = gr.HTML("", elem_id=elem_id("preset_message"), elem_classes=["sdfm-notice"])
    return PresetRow(id, name, *buttons, message)


def connect_preset_row(
    schema: Schema, presets: PresetStore, row: PresetRow, inputs: list[Any], controls: list[Any], pasted: list[Any]
) -> None:
    """Connect the buttons.

    :param inputs: the panel's controls in positional order
    :param controls: the controls of the schema's fields, in their order
    :param pasted: components with notes on the last pasted parameters, which are cleared
    """
    cleared = [""] * len(pasted)

    def show(values: dict[str, Any]) -> list[Any]:
        shown = schema.shown(values)
        return [gr.update(value=shown[field.id]) for field in schema.fields]

    unchanged = [gr.update() for _ in (*controls, *pasted)]

    def load(name: str | None) -> list[Any]:
        try:
            values = show(presets.values(name or ""))
            return [*values, *cleared, _message(presets.get(name or "").about or f"{name} is loaded.")]
        except UserError as error:
            return [*unchanged, _message(str(error))]

    def save(name: str | None, *args: Any) -> list[Any]:
        try:
            presets.save(name or "", schema.from_positional(args))
            return [gr.update(choices=_names(presets)), _message(f"{name} is saved.")]
        except UserError as error:
            return [gr.update(), _message(str(error))]

    def delete(name: str | None) -> list[Any]:
        try:
            presets.delete(name or "")
            return [gr.update(choices=_names(presets), value=None), _message(f"{name} is deleted.")]
        except UserError as error:
            return [gr.update(), _message(str(error))]

    shown, said = [*controls, *pasted, row.message], [row.name, row.message]
    press(row.id, row.load, fn=load, inputs=[row.name], outputs=shown, **QUIET)
    press(row.id, row.save, fn=save, inputs=[row.name, *inputs], outputs=said, **QUIET)
    press(row.id, row.delete, fn=delete, inputs=[row.name], outputs=said, **QUIET)
    press(row.id, row.reset, fn=lambda: [*show(schema.defaults()), *cleared, ""], outputs=shown, **QUIET)


def _names(presets: PresetStore) -> list[str]:
    try:
        return presets.names()
    except UserError as error:  # a damaged file must not take the panel down; saving and deleting tell
        print(f"SDFM: {error}")
        return presets.shipped_names()


def _message(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
