"""Controls that gradio doesn't have, under the host's names; for gradio 3.41 and 4.40."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.context import Context

GRADIO_4 = int(gr.__version__.split(".")[0]) >= 4
JS = "js" if GRADIO_4 else "_js"
"""The keyword for a listener in the browser."""


def same_signature(parent: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For the ``__init__`` of a control's subclass: gradio 4 shows in the browser only what it finds in the signature."""
    return functools.wraps(parent.__init__)


class ToolButton(gr.Button):
    """A small one with a symbol."""

    @same_signature(gr.Button)
    def __init__(self, value: str = "", elem_classes: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(value, elem_classes=["tool", *(elem_classes or [])], **kwargs)

    def get_block_name(self) -> str:
        return "button"


class InputAccordion(gr.Checkbox):
    """An accordion that is a switch: a hidden checkbox, which the script in javascript/accordion.js ties to it."""

    numbers = itertools.count()

    @same_signature(gr.Checkbox)
    def __init__(self, value: bool = False, **kwargs: Any) -> None:
        self.accordion_id = kwargs.pop("elem_id", None) or f"input-accordion-{next(self.numbers)}"
        super().__init__(
            value, **{**kwargs, "elem_id": f"{self.accordion_id}-checkbox", "elem_classes": ["switch-of-accordion"]}
        )
        if Context.root_block is None:  # gradio 4 makes a control anew to keep a session's changes of it
            return
        follow = f"(on) => {{ accordionFollows('{self.accordion_id}', on); }}"
        self.change(fn=None, inputs=[self], **{JS: follow})
        label = kwargs.get("label", "")
        self.accordion = gr.Accordion(label, open=value, elem_id=self.accordion_id, elem_classes=["input-accordion"])

    def __enter__(self) -> InputAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.accordion.__exit__(*exception)

    def get_block_name(self) -> str:
        return "checkbox"
