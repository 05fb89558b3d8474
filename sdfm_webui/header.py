"""The panel's header line: active techniques and their cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from lib_sdfm.errors import UserError
from lib_sdfm.planning.explain import summary
from lib_sdfm.schema.settings import Schema

from .events import refresh_on_change

PANEL_TITLE = "SDFM"


def header_line(schema: Schema, args: tuple[Any, ...]) -> str:
    """Return the title of the panel for its arguments."""
    try:
        settings = schema.settings(schema.from_positional(args))
    except UserError as error:
        return f"{PANEL_TITLE}: {error}"
    text = summary(schema, settings)
    return f"{PANEL_TITLE}: {text}" if text else PANEL_TITLE


def connect_header(schema: Schema, accordion: Any, inputs: list[Any], elem_id: Callable[[str], str]) -> None:
    """Keep the title of ``accordion`` up to date with the controls."""

    def refresh(*args: Any) -> Any:
        return gr.update(label=header_line(schema, args))

    refresh_on_change(elem_id("header_ask"), inputs, refresh, [accordion])
