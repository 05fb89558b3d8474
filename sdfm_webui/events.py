"""Events whose answers can't overtake each other, for gradio 3.41 and 4.40. The browser's part is in javascript/sdfm.js.

The hosts answer requests in parallel, and gradio 3 drops a change while an earlier one of the same control is answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

GRADIO_4 = int(gr.__version__.split(".")[0]) >= 4
ONE_AT_A_TIME = "sdfm-one-at-a-time"
"""Class of a row of buttons, with an id: none of them can be pressed while another one's answer is awaited."""
QUIET = {"show_progress": False, "queue": False}


def in_browser(script: str) -> dict[str, Any]:
    """Arguments of an event that runs a script in the browser and asks the server nothing."""
    return {"fn": None, "inputs": [], "js" if GRADIO_4 else "_js": script}


def refresh_on_change(
    id: str, controls: Sequence[Any], fn: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> None:
    """Keep ``outputs`` up to date with ``inputs``: one request at a time, the last one with the newest values.

    :param id: id of the hidden button that asks
    :param controls: a change of any of these asks
    """
    ask = gr.Button("", elem_id=id, elem_classes=["sdfm-ask"])
    ask.do_not_save_to_config = True
    for control in controls:
        control.change(outputs=[], **in_browser(f"() => {{ sdfmAsk({json.dumps(id)}); }}"))
    repeated = {"trigger_mode": "multiple"} if GRADIO_4 else {}
    asked = ask.click(fn=fn, inputs=list(inputs), outputs=list(outputs), **QUIET, **repeated)
    asked.then(outputs=[], **in_browser(f"() => {{ sdfmAnswered({json.dumps(id)}); }}"))


def press(row_id: str, button: Any, **event: Any) -> None:
    """Connect a button of a row that has the class :data:`ONE_AT_A_TIME`.

    :param event: arguments of gradio's ``click``
    """
    button.click(**event).then(outputs=[], **in_browser(f"() => {{ sdfmAnswered({json.dumps(row_id)}); }}"))
