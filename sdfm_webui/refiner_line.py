"""The line in the host's Refiner panel and in ours: when model and prompts switch, and which numbers don't follow.

The browser's part (javascript/sdfm.js) changes numbers in the prompt boxes, at the positions given in the line.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from lib_sdfm.prompts.edits import MARK, When
from lib_sdfm.prompts.report import Expected, report
from lib_sdfm.techniques.refiner_sync import RefinerSync, RefinerSyncSettings

from .events import refresh_on_change
from .host_controls import TABS, present

LINE, OUR_LINE = "sdfm_refiner_{tab}", "script_{tab}_sdfm_refiner_line"
SWITCH_AT = "{tab}_switch_at"
PANEL = "script_{tab}_sdfm_refiner_sync"
HOSTS_OWN = {
    "prompt": "{tab}_prompt", "negative": "{tab}_neg_prompt", "refiner": "{tab}_enable-checkbox",
    "checkpoint": "{tab}_checkpoint", "switch_at": SWITCH_AT, "steps": "{tab}_steps", "sampler": "{tab}_sampling",
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
BOXES = {"prompt": ("prompt", False), "negative": ("negative prompt", True)}
"""Prompt boxes: their names, each with true if it is a negative prompt."""

Expect = Callable[[Mapping[str, Any]], Expected]
"""Function from the values of the controls to the pass in which a refiner takes over."""


NOTHING = Expected("run")


def build_own_line(elem_id: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    """Build the line in our panel, which :class:`RefinerLine` finds by its id."""
    gr.HTML("", elem_id=elem_id("refiner_line"), elem_classes=["sdfm-refiner"])
    return lambda controls: None


class RefinerLine:
    """The line of both tabs, in the host's panel and beside the settings in ours.

    :param expect: returns the expected calls for the values of the controls
    """

    def __init__(self, expect: Expect) -> None:
        self._expect = expect

    def build(self, tab: str) -> Any:
        """Build the line in the host's panel."""
        return gr.HTML("", elem_id=LINE.format(tab=tab), elem_classes=["sdfm-refiner"])

    def connect(self, tab: str, found: Mapping[str, Any]) -> None:
        """Keep the lines of a tab up to date with the controls, if the host has those that it needs."""
        shown = present(found, {**HOSTS_OWN, **OURS, **KIND, **(HIRES if tab == TABS[0] else {})}, tab)
        lines = present(found, {"host": LINE, "ours": OUR_LINE}, tab)
        if "host" not in lines or not {*HOSTS_OWN, *OURS} <= set(shown):
            return

        def refresh(*values: Any) -> Any:
            text = self.text(dict(zip(shown, values)))
            return text if len(lines) == 1 else [text] * len(lines)

        refresh_on_change(f"{LINE.format(tab=tab)}_ask", list(shown.values()), refresh, list(lines.values()))

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
        button = f' <button type="button" class="sdfm-follow">Change to {new}</button>' if said.fixes else ""
        prompts = {name: text for name, (text, _) in zip(BOXES, texts.values())}
        following, fixes = _places(said.following, prompts), _places(said.fixes, prompts)
        data = html.escape(json.dumps({"texts": prompts, "following": following, "fixes": fixes, "new": new}))
        return f'<p class="sdfm-note" data-sdfm-edits="{data}">{html.escape(said.text)}{button}</p>'


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
