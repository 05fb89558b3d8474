"""The buttons and routes of flow matching: detect the kind of the loaded checkpoint, and remember it."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import gradio as gr
from fastapi import Body, FastAPI

from lib_sdfm.errors import UserError

from .errors import shown_to_user
from .events import ONE_AT_A_TIME, press
from .flow import FlowHost


def build_flow_row(flow: FlowHost, controls: dict[str, Any], elem_id: Callable[[str], str]) -> None:
    """Build the buttons, inside the technique's accordion.

    :param controls: the technique's controls by field id
    """
    row_id = elem_id("flow_buttons")
    with gr.Row(elem_id=row_id, elem_classes=["sdfm-row", ONE_AT_A_TIME]):
        buttons = [
            gr.Button(text, elem_id=elem_id(f"flow_{text.lower()}"), size="sm", min_width=60) for text in ("Detect", "Remember")
        ]
    message = gr.HTML("", elem_id=elem_id("flow_message"), elem_classes=["sdfm-notice"])

    def detect() -> str:
        return _told(lambda: proposal(flow.detect()))

    def remember(mode: str, shift: float) -> str:
        return _told(lambda: flow.remember(mode, shift))

    quiet = {"outputs": [message], "show_progress": False}
    press(row_id, buttons[0], fn=detect, inputs=[], **quiet)
    press(row_id, buttons[1], fn=remember, inputs=[controls["flow.mode"], controls["flow.shift"]], **quiet)


def proposal(found: dict[str, Any]) -> str:
    """Return what was detected about a checkpoint, and what to do."""
    kind = {True: "a flow model", False: "an ordinary checkpoint", None: "unknown"}[found["flow"]]
    known = found["remembered"]
    kept = f" Remembered: {known['mode']}, shift {known['shift']:g}." if known else " Nothing is remembered of it."
    advice = " If its author says so, choose On and press Remember." if found["flow"] is not False else ""
    return f"{found['checkpoint']}: {kind}; {found['why']}.{kept}{advice}"


def add_flow_routes(flow: FlowHost, app: FastAPI, **options: Any) -> None:
    """Add ``GET`` and ``POST /sdfm/v1/flow`` for the loaded checkpoint.

    :param options: passed on to each route
    """

    def detect() -> dict[str, Any]:
        with shown_to_user():
            return flow.detect()

    def remember(mode: str = Body("On"), shift: float = Body(3.0)) -> dict[str, Any]:
        with shown_to_user():
            return {"message": flow.remember(mode, shift)}

    app.add_api_route("/sdfm/v1/flow", detect, methods=["GET"], **options)
    app.add_api_route("/sdfm/v1/flow", remember, methods=["POST"], **options)


def _told(action: Callable[[], str]) -> str:
    try:
        return f"<p>{html.escape(action())}</p>"
    except UserError as error:
        return f"<p>{html.escape(str(error))}</p>"
