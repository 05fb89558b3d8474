"""The panel's header line: active techniques and their cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from lib_sdfm.errors import UserError
from lib_sdfm.planning.explain import summary
from lib_sdfm.schema.payload import read_notes
from lib_sdfm.schema.settings import Schema

from .events import refresh_on_change

PANEL_TITLE = "SDFM"


def header_line(schema: Schema, args: tuple[Any, ...]) -> str:
    """Return the title of the panel for its arguments, with the number of pasted values that were not read."""
    try:
        parts = [unread(args), summary(schema, schema.settings(schema.from_positional(args)))]
    except UserError as error:
        return f"{PANEL_TITLE}: {error}"
    text = " · ".join(part for part in parts if part)
    return f"{PANEL_TITLE}: {text}" if text else PANEL_TITLE


def unread(args: tuple[Any, ...]) -> str:
    """Return how many values of the last pasted parameters were not read, in words; empty if all were."""
    try:
        errors, warnings = read_notes(args)
    except UserError:
        return ""
    number = len(errors) + len(warnings)
    return f"{number} value{'' if number == 1 else 's'} not read" if number else ""


def connect_header(schema: Schema, accordion: Any, inputs: list[Any], elem_id: Callable[[str], str]) -> None:
    """Keep the title of ``accordion`` up to date with the controls."""

    def refresh(*args: Any) -> Any:
        return gr.update(label=header_line(schema, args))

    refresh_on_change(elem_id("header_ask"), inputs, refresh, [accordion])
