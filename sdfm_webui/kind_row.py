"""The buttons and routes of the model kind: detect it for the loaded checkpoint, remember and forget it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from fastapi import Body, FastAPI

from lib_sdfm.errors import UserError

from . import kind_actions
from .errors import shown_to_user
from .events import ONE_AT_A_TIME, QUIET, press, refresh_on_change
from .kind_watch import told
from .model_kinds import KindHost

CHOSEN = ("model.enabled", "model.kind", "flow.enabled", "flow.mode")
"""Controls that say which kind is asked for."""


def build_kind_row(
    host: KindHost, glance: Callable[[], Any], part: Any, controls: dict[str, Any], elem_id: Callable[[str], str]
) -> None:
    """Build the buttons, inside the part of the panel.

    :param glance: returns the loaded model without loading one
    :param part: the accordion of the part, whose title says what counts
    :param controls: the part's controls by field id
    """
    row_id = elem_id("model_buttons")
    with gr.Row(elem_id=row_id, elem_classes=["sdfm-row", ONE_AT_A_TIME]):
        detect, keep, drop = (
            gr.Button(text, elem_id=elem_id(f"model_{text.lower()}"), size="sm", min_width=60)
            for text in ("Detect", "Remember", "Forget")
        )
    message = gr.HTML("", elem_id=elem_id("model_message"), elem_classes=["sdfm-notice"])
    stop = gr.Button("Stop", elem_id=elem_id("model_stop"), size="sm", min_width=60, visible=False)
    asking = [controls[id] for id in CHOSEN]

    def retitled(*asked: Any) -> Any:
        return gr.update(label=_title(host, glance(), asked))

    def remembered(shift: float, zero: bool, *asked: Any) -> Any:
        return _told(lambda: _remember(host, shift, zero, asked)), retitled(*asked)

    def forgotten(*asked: Any) -> Any:
        return _told(lambda: kind_actions.forget(host)), retitled(*asked)

    def detected(*asked: Any) -> Iterator[Any]:
        progress = (lambda: "Detect is at work.") if host.watch is None else host.watch.progress
        for line in told(
            lambda: _told(lambda: kind_actions.proposal(kind_actions.detect(host))), lambda: _paragraph(progress())
        ):
            yield line, retitled(*asked), gr.update(visible=True)
        yield line, retitled(*asked), gr.update(visible=False)

    quiet = {"outputs": [message, part], "show_progress": False}
    press(row_id, detect, fn=detected, inputs=asking, outputs=[message, part, stop], show_progress=False)
    if host.watch is not None:
        stop.click(fn=lambda: _paragraph(host.watch.stop()), outputs=[message], **QUIET)
    values = [controls["flow.shift"], controls["model.zero_terminal_snr"]]
    press(row_id, keep, fn=remembered, inputs=[*values, *asking], **quiet)
    press(row_id, drop, fn=forgotten, inputs=asking, **quiet)
    refresh_on_change(elem_id("model_ask"), asking, retitled, [part])


def _title(host: KindHost, model: Any, asked: tuple[Any, ...]) -> str:
    try:
        return kind_actions.title(host, model, kind_actions.chosen(*asked))
    except UserError as error:
        return f"{kind_actions.PART_TITLE}: {error}"


def _remember(host: KindHost, shift: float, zero: bool, asked: tuple[Any, ...]) -> str:
    kind = kind_actions.chosen(*asked)
    if kind is None:
        return "Choose the model kind or the mode of flow matching first."
    return kind_actions.remember(host, kind, shift, zero)


def add_kind_routes(host: KindHost, app: FastAPI, **options: Any) -> None:
    """Add ``GET``, ``POST`` and ``DELETE /sdfm/v1/model`` for the loaded checkpoint, and version 0.1's ``/sdfm/v1/flow``.

    :param options: passed on to each route
    """

    def detect() -> dict[str, Any]:
        with shown_to_user():
            return kind_actions.detect(host)

    def remember(kind: Any = Body("Automatic"), shift: Any = Body(3.0), zero_terminal_snr: Any = Body(False)) -> dict[str, Any]:
        with shown_to_user():
            return {"message": kind_actions.remember(host, kind, shift, zero_terminal_snr)}

    def forget() -> dict[str, Any]:
        with shown_to_user():
            return {"message": kind_actions.forget(host)}

    def detect_flow() -> dict[str, Any]:
        with shown_to_user():
            return kind_actions.as_flow(host, kind_actions.detect(host))

    def remember_flow(mode: str = Body("On"), shift: float = Body(3.0)) -> dict[str, Any]:
        with shown_to_user():
            return {"message": kind_actions.remember_mode(host, mode, shift)}

    for method, answer in {"GET": detect, "POST": remember, "DELETE": forget}.items():
        app.add_api_route("/sdfm/v1/model", answer, methods=[method], **options)
    app.add_api_route("/sdfm/v1/flow", detect_flow, methods=["GET"], **options)
    app.add_api_route("/sdfm/v1/flow", remember_flow, methods=["POST"], **options)


def _told(action: Callable[[], str]) -> str:
    try:
        return _paragraph(action())
    except UserError as error:
        return _paragraph(str(error))


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
