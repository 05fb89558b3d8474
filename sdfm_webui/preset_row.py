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


@dataclass(frozen=True)
class PresetRow:
    """The row's components."""

    name: Any
    load: Any
    save: Any
    delete: Any
    reset: Any
    message: Any


def build_preset_row(presets: PresetStore, elem_id: Callable[[str], str]) -> PresetRow:
    """Builds the components."""
    with gr.Row(elem_classes=["sdfm-presets"]):
        name = gr.Dropdown(
            _names(presets), value=None, label="Preset", elem_id=elem_id("preset"), allow_custom_value=True, scale=4,
            min_width=200, info="Choose one and load it, or type a name and save the present settings under it.",
        )  # fmt: skip
        buttons = [
            gr.Button(text, elem_id=elem_id(f"preset_{text.lower()}"), size="sm", min_width=60, scale=1)
            for text in ("Load", "Save", "Delete", "Reset")
        ]
    message = gr.HTML("", elem_id=elem_id("preset_message"), elem_classes=["sdfm-notice"])
    return PresetRow(name, *buttons, message)


def connect_preset_row(schema: Schema, presets: PresetStore, row: PresetRow, inputs: list[Any], controls: list[Any]) -> None:
    """Connects the buttons.

    :param inputs: the panel's controls in positional order
    :param controls: the controls of the schema's fields, in their order
    """

    def show(values: dict[str, Any]) -> list[Any]:
        shown = schema.shown(values)
        return [gr.update(value=shown[field.id]) for field in schema.fields]

    unchanged = [gr.update() for _ in controls]

    def load(name: str | None) -> list[Any]:
        try:
            return [*show(presets.values(name or "")), _message(presets.get(name or "").about or f"{name} is loaded.")]
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

    quiet = {"show_progress": False, "queue": False}
    row.load.click(fn=load, inputs=[row.name], outputs=[*controls, row.message], **quiet)
    row.save.click(fn=save, inputs=[row.name, *inputs], outputs=[row.name, row.message], **quiet)
    row.delete.click(fn=delete, inputs=[row.name], outputs=[row.name, row.message], **quiet)
    row.reset.click(fn=lambda: [*show(schema.defaults()), ""], outputs=[*controls, row.message], **quiet)


def _names(presets: PresetStore) -> list[str]:
    try:
        return presets.names()
    except UserError as error:  # a damaged file must not take the panel down; saving and deleting tell
        print(f"SDFM: {error}")
        return presets.shipped_names()


def _message(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
