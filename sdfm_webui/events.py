"""Events with responses in order, for gradio 3.41 and 4.40. The browser's part is in javascript/sdfm.js.

The hosts answer requests in parallel, and gradio 3 drops a change while an earlier one of the same control is pending.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.context import Context

GRADIO_4 = int(gr.__version__.split(".")[0]) >= 4
ONE_AT_A_TIME = "sdfm-one-at-a-time"
"""Class of a row of buttons, with an id: none of them can be pressed while another one's response is pending."""
TOLD = 50
"""Milliseconds until gradio has put a script's result into its control."""
QUIET = {"show_progress": False, "queue": False}


def in_browser(script: str, inputs: Sequence[Any] = ()) -> dict[str, Any]:
    """Return the arguments of an event that runs a script in the browser without a request to the server."""
    return {"fn": None, "inputs": list(inputs), "js" if GRADIO_4 else "_js": script}


def run_on(event: str, controls: Sequence[Any], script: str, outputs: Sequence[Any] = (), inputs: Sequence[Any] = ()) -> None:
    """Run a script in the browser on an event of any of the controls.

    This is one entry of the page's configuration, of half a kilobyte, not one per control.
    """
    if GRADIO_4:
        gr.on([getattr(control, event) for control in controls], outputs=list(outputs), **in_browser(script, inputs))
        return
    getattr(controls[0], event)(outputs=list(outputs), **in_browser(script, inputs))
    # gradio 3.41 has a list of targets and no function that fills it
    Context.root_block.dependencies[-1]["targets"] = [control._id for control in controls]


def refresh_on_change(id: str, controls: Sequence[Any], fn: Callable[..., Any], outputs: Sequence[Any]) -> None:
    """Keep ``outputs`` up to date with ``controls``: one request at a time, the last one with the newest values.

    :param id: id of the hidden button that sends the request
    :param controls: a change of any of these sends a request; ``fn`` gets the values of all
    """
    ask = hidden_button(id)
    run_on("change", controls, f"() => {{ sdfmAsk({json.dumps(id)}); }}")
    repeated = {"trigger_mode": "multiple"} if GRADIO_4 else {}
    asked = ask.click(fn=fn, inputs=list(controls), outputs=list(outputs), **QUIET, **repeated)
    asked.then(outputs=[], **in_browser(f"() => {{ sdfmAnswered({json.dumps(id)}); }}"))


def ask_by_script(id: str, then: Mapping[str, Sequence[str]], told: Any, **event: Any) -> None:
    """Build a hidden button by which scripts send a request, one at a time.

    :param id: the button's id, for ``sdfmAsk``
    :param then: by the text in ``told``, the ids of hidden buttons that are pressed afterwards
    :param told: a hidden control, see :func:`tell_and_ask`
    :param event: arguments of gradio's ``click``
    """
    repeated = {"trigger_mode": "multiple"} if GRADIO_4 else {}
    following = f"({json.dumps(dict(then))}[told] || []).forEach(sdfmPress);"
    asked = hidden_button(id).click(**event, **QUIET, **repeated)
    asked.then(outputs=[], **in_browser(f"(told) => {{ sdfmAnswered({json.dumps(id)}); {following} }}", [told]))


def hidden_button(id: str) -> Any:
    """Return a button that only scripts press."""
    button = gr.Button("", elem_id=id, elem_classes=["sdfm-ask"])
    button.do_not_save_to_config = True
    return button


def tell_and_ask(event: str, controls: Sequence[Any], what: str, told: Any, id: str) -> None:
    """On an event of any of the controls, put a text into a hidden control, then send the request of a hidden button.

    :param what: a script's expression for the text
    :param told: the hidden control
    :param id: the id of a button of :func:`ask_by_script`
    """
    asking = f"setTimeout(() => sdfmAsk({json.dumps(id)}), {TOLD});"  # gradio runs no `then` after a script alone
    run_on(event, controls, f"() => {{ {asking} return [{what}]; }}", outputs=[told])


def press(row_id: str, button: Any, **event: Any) -> None:
    """Connect a button of a row with the class :data:`ONE_AT_A_TIME`.

    :param event: arguments of gradio's ``click``
    """
    button.click(**event).then(outputs=[], **in_browser(f"() => {{ sdfmAnswered({json.dumps(row_id)}); }}"))
