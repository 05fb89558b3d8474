"""The line in the host's Refiner panel: when model and prompts switch, and which numbers don't follow.

The browser's part (javascript/sdfm.js) changes numbers in the prompt boxes, at the positions given in the line.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.context import Context

from lib_sdfm.prompts.edits import MARK, When
from lib_sdfm.prompts.report import Expected, report
from lib_sdfm.techniques.refiner_sync import RefinerSync, RefinerSyncSettings

from .events import refresh_on_change

TABS = ("txt2img", "img2img")
PANEL = "script_{tab}_sdfm_refiner_sync"
HOSTS_OWN = {
    "prompt": "{tab}_prompt", "negative": "{tab}_neg_prompt", "refiner": "{tab}_enable-checkbox",
    "checkpoint": "{tab}_checkpoint", "switch_at": "{tab}_switch_at", "steps": "{tab}_steps", "sampler": "{tab}_sampling",
    "scheduler": "{tab}_scheduler", "strength": "{tab}_denoising_strength",
}  # fmt: skip
OURS = {"on": f"{PANEL}-checkbox", "numbers": f"{PANEL}_numbers", "from_start": f"{PANEL}_from_start"}
HIRES = {
    "hires": "{tab}_hr-checkbox", "hires_steps": "{tab}_hires_steps", "hires_sampler": "hr_sampler",
    "hires_scheduler": "hr_scheduler", "hires_checkpoint": "hr_checkpoint",
}  # fmt: skip
"""Controls that exist only in txt2img."""
KIND = {
    "flow": "script_{tab}_sdfm_flow-checkbox", "flow_mode": "script_{tab}_sdfm_flow_mode",
    "model": "script_{tab}_sdfm_model-checkbox", "model_kind": "script_{tab}_sdfm_model_kind",
    "zero_terminal_snr": "script_{tab}_sdfm_model_zero_terminal_snr",
}  # fmt: skip
"""Our controls that decide which noise table is used."""
LAST = "{tab}_gallery"
"""Control that the hosts create after all of those."""
BOXES = {"prompt": ("prompt", False), "negative": ("negative prompt", True)}
"""Prompt boxes: their names, each with true if it is a negative prompt."""

Expect = Callable[[Mapping[str, Any]], Expected]
"""Function from the values of the controls to the pass in which a refiner takes over."""


NOTHING = Expected("run")


class RefinerLine:
    """Collector of the host's controls as they are created, which then connects the line to them.

    :param expect: returns the expected calls for the values of the controls
    """

    def __init__(self, expect: Expect) -> None:
        self._expect = expect
        self._found: dict[str, Any] = {}

    def after_component(self, component: Any, **kwargs: Any) -> None:
        """Handle the host's callback of this name."""
        id = getattr(component, "elem_id", None)
        if not isinstance(id, str) or Context.block is None:
            return
        self._found[id] = component
        for tab in TABS:
            if id == HOSTS_OWN["switch_at"].format(tab=tab):
                self._found[f"line_{tab}"] = gr.HTML("", elem_id=f"sdfm_refiner_{tab}")
            if id == LAST.format(tab=tab):
                self._connect(tab)

    def _connect(self, tab: str) -> None:
        wanted = {**HOSTS_OWN, **OURS, **KIND, **(HIRES if tab == TABS[0] else {})}
        ids = {name: id.format(tab=tab) for name, id in wanted.items()}
        line = self._found.get(f"line_{tab}")
        present = {name: self._found[id] for name, id in ids.items() if id in self._found}
        if line is None or not {*HOSTS_OWN, *OURS} <= set(present):
            return

        def refresh(*values: Any) -> str:
            return self.text(dict(zip(present, values)))

        refresh_on_change(f"sdfm_refiner_{tab}_ask", list(present.values()), refresh, [line])

    def text(self, values: Mapping[str, Any]) -> str:
        """Return the line, as HTML, for the values of the controls by name."""
        has_refiner = bool(values["refiner"]) and values["checkpoint"] not in (None, "", "None")
        if not values["on"]:
            return ""
        sync = RefinerSync(RefinerSyncSettings(bool(values["numbers"]), bool(values["from_start"])), "sdfm")
        asked = values["switch_at"] if has_refiner else None
        texts = {shown: (values[name] or "", negative) for name, (shown, negative) in BOXES.items()}
        expected = self._expect(values) if has_refiner else NOTHING
        said = report(texts, sync.switch_at(asked) if has_refiner else None, lambda w: sync.follows_refiner(w, asked), expected)
        if not said.text:
            return ""
        new = _share(asked) if values["numbers"] else MARK
        button = f' <button type="button" class="sdfm-follow">Make “:{new}]” of it</button>' if said.fixes else ""
        prompts = {name: text for name, (text, _) in zip(BOXES, texts.values())}
        following, fixes = _places(said.following, prompts), _places(said.fixes, prompts)
        data = html.escape(json.dumps({"texts": prompts, "following": following, "fixes": fixes, "new": new}))
        return f'<p data-sdfm-edits="{data}">{html.escape(said.text)}{button}</p>'


def _share(switch_at: float | None) -> str:
    """Return a number with a decimal point: without one it would count steps."""
    text = f"{float(switch_at or 0):g}"
    return text if "." in text else f"{text}.0"


def _places(edits: Mapping[str, Sequence[When]], prompts: Mapping[str, str]) -> dict[str, list[list[Any]]]:
    """Return start, in the browser's units of UTF-16, and text of each edit, by the box."""
    boxes = {shown: name for name, (shown, _) in BOXES.items()}

    def start(name: str, edit: When) -> int:
        return len(prompts[name][: edit.start].encode("utf-16-le", "surrogatepass")) // 2

    return {boxes[shown]: [[start(boxes[shown], edit), edit.text] for edit in found] for shown, found in edits.items() if found}
