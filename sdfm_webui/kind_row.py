"""The buttons and routes of the model kind: detect it for the loaded checkpoint, remember and forget it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from fastapi import Body, FastAPI

from lib_sdfm.errors import UserError
from lib_sdfm.sampling.model_kind import NOISE

from . import kind_actions
from .errors import shown_to_user
from .events import ONE_AT_A_TIME, QUIET, press, refresh_on_change
from .header import SIGN
from .kind_watch import told
from .model_kinds import KindHost

CHOSEN = ("model.enabled", "model.kind", "flow.enabled", "flow.mode")
"""Controls that say which kind is asked for."""


def build_kind_row(
    host: KindHost, glance: Callable[[], Any], elem_id: Callable[[str], str]
) -> Callable[[dict[str, Any]], None]:
    """Build what counts for the loaded checkpoint, and the buttons; return the function that connects them.

    :param glance: returns the loaded model without loading one
    """
    line = gr.HTML("", elem_id=elem_id("model_line"))
    row_id = elem_id("model_buttons")
    with gr.Row(elem_id=row_id, elem_classes=["sdfm-row", ONE_AT_A_TIME]):
        buttons = [
            gr.Button(text, elem_id=elem_id(f"model_{text.lower()}"), size="sm", min_width=60)
            for text in ("Detect", "Remember", "Forget")
        ]
    message = gr.HTML("", elem_id=elem_id("model_message"))
    stop = gr.Button("Stop", elem_id=elem_id("model_stop"), size="sm", min_width=60, visible=False)
    asked_for, found = gr.State(""), gr.State({})

    def connect(controls: dict[str, Any]) -> None:
        asking = [controls[id] for id in CHOSEN]
        values = [controls["flow.shift"], controls["model.zero_terminal_snr"]]

        def remembered(before: str, detected: dict[str, str | None], shift: float, zero: bool, *asked: Any) -> Any:
            said, unsure = _remember(host, shift, zero, asked, before, detected)
            return said, unsure, _line(host, glance(), asked)

        def forgotten(*asked: Any) -> Any:
            return _told(lambda: kind_actions.forget(host)), "", _line(host, glance(), asked)

        def detected(*asked: Any) -> Iterator[Any]:
            progress = (lambda: "Detect is running.") if host.watch is None else host.watch.progress
            kinds: dict[str, str | None] = {}
            for text in told(lambda: _detect(host, kinds), lambda: _note(progress())):
                yield text, "", _line(host, glance(), asked), gr.update(visible=True), kinds
            yield text, "", _line(host, glance(), asked), gr.update(visible=False), kinds

        quiet = {"outputs": [message, asked_for, line], "show_progress": False}
        detect, keep, drop = buttons
        outputs = [*quiet["outputs"], stop, found]
        press(row_id, detect, fn=detected, inputs=asking, outputs=outputs, show_progress=False)
        if host.watch is not None:
            stop.click(fn=lambda: _note(host.watch.stop()), outputs=[message], **QUIET)
        press(row_id, keep, fn=remembered, inputs=[asked_for, found, *values, *asking], **quiet)
        press(row_id, drop, fn=forgotten, inputs=asking, **quiet)
        refresh_on_change(elem_id("model_ask"), asking, lambda *asked: _line(host, glance(), asked), [line])

    return connect


def kind_in_title(host: KindHost, model: Any) -> str:
    """Return the kind that counts for a checkpoint if it isn't an ordinary one, or contradicts its file, in words."""
    try:
        said = kind_actions.what_counts(host, model, None)
    except UserError:
        return ""
    if said is None:
        return ""
    return f"{SIGN} {said.warning}" if said.warning else "" if said.short == NOISE else said.short


def _line(host: KindHost, model: Any, asked: tuple[Any, ...]) -> str:
    try:
        text = kind_actions.title(host, model, kind_actions.chosen(*asked))
    except UserError as error:
        text = str(error)
    return f'<p class="sdfm-counts">{html.escape(text)}</p>'


def _detect(host: KindHost, kinds: dict[str, str | None]) -> str:
    """Return a message.

    :param kinds: gets the detected kind by the checkpoint's name
    """
    try:
        found = kind_actions.detect(host)
        kinds[found["checkpoint"]] = found["kind"]
        return _note(kind_actions.proposal(found))
    except UserError as error:
        return _note(str(error))


def _remember(
    host: KindHost, shift: float, zero: bool, asked: tuple[Any, ...], before: str, detected: dict[str, str | None]
) -> tuple[str, str]:
    """Return a message, and the kind that is to be confirmed by pressing the button once more, if any.

    :param before: the kind that the last press was to be confirmed for
    :param detected: what was detected before, by the checkpoint's name
    """
    try:
        kind = kind_actions.chosen(*asked)
        if kind is None:
            return _note("First choose the model kind or the flow matching mode."), ""
        doubt = "" if kind == before else kind_actions.doubt(host, kind, detected)
        if doubt:
            return _note(f"{doubt} Press Remember again to remember {kind} anyway."), kind
        return _note(kind_actions.remember(host, kind, shift, zero)), ""
    except UserError as error:
        return _note(str(error)), ""


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
        return _note(action())
    except UserError as error:
        return _note(str(error))


def _note(text: str) -> str:
    return f'<div class="sdfm-note"><p>{html.escape(text)}</p></div>'
