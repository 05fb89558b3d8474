"""Extensions hear of every control that is made, as in A1111 (where the name of this file is misspelt)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gradio as gr

from modules import script_callbacks

COMPONENT = getattr(gr.components, "IOComponent", gr.components.Component)
"""The base class of all controls: gradio 3.41's IOComponent, gradio 4's Component."""


def _telling(init: Callable[..., None]) -> Callable[..., None]:
    init = getattr(init, "untold", init)  # the demo's modules may be loaded again

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        script_callbacks.after_component_callback(self, **kwargs)

    __init__.untold = init
    return __init__


COMPONENT.__init__ = _telling(COMPONENT.__init__)
