"""The panel's title, notes and plot of the run, made anew when a control of the panel or of the host changes."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import gradio as gr

from lib_sdfm.errors import UserError
from lib_sdfm.schema.settings import Schema

from .controls import Panel
from .events import refresh_on_change
from .header import header_of, notes_html
from .host_controls import TABS, present
from .run_course import Course, RunCourse
from .run_plot import plot

ASK = "script_{tab}_sdfm_header_ask"
HOSTS_OWN = {
    "prompt": "{tab}_prompt", "negative": "{tab}_neg_prompt", "refiner": "{tab}_enable-checkbox",
    "checkpoint": "{tab}_checkpoint", "switch_at": "{tab}_switch_at", "steps": "{tab}_steps", "sampler": "{tab}_sampling",
    "scheduler": "{tab}_scheduler", "strength": "{tab}_denoising_strength", "cfg_scale": "{tab}_cfg_scale",
    "width": "{tab}_width", "height": "{tab}_height",
}  # fmt: skip
HIRES = {
    "hires": "{tab}_hr-checkbox", "hires_steps": "{tab}_hires_steps", "hires_sampler": "hr_sampler",
    "hires_scheduler": "hr_scheduler", "hires_scale": "{tab}_hr_scale", "hires_width": "{tab}_hr_resize_x",
    "hires_height": "{tab}_hr_resize_y", "hires_cfg_scale": "{tab}_hr_cfg",
}  # fmt: skip
"""Controls that exist only in txt2img."""
NEEDED = {"steps", "sampler", "scheduler"}


def drawn(schema: Schema, course: Callable[..., Course], args: Sequence[Any], values: Mapping[str, Any]) -> str:
    """Return the plot as HTML, or why there is none.

    :param args: the panel's arguments
    :param values: values of the host's controls by name
    """
    try:
        return plot(course(schema, schema.settings(schema.from_positional(args)), values))
    except UserError as error:
        return f'<p class="sdfm-plot-note">{html.escape(str(error))}</p>'


def _once(course: RunCourse) -> Callable[..., Course]:
    """Return a function that computes the course of one refresh, which title and plot share."""
    made: list[Course] = []

    def known(*asked: Any) -> Course:
        if not made:
            made.append(course(*asked))
        return made[0]

    return known


def connect_view(
    schema: Schema,
    panel: Panel,
    tab: str,
    found: Mapping[str, Any] = MappingProxyType({}),
    course: RunCourse | None = None,
    model: Callable[[], str] = lambda: "",
) -> None:
    """Keep title, notes and plot of a panel up to date with its controls and the host's.

    :param found: all controls by id
    :param course: computes the course of the run; without it, or if the host lacks a control that it needs, there is no plot
    :param model: returns the model kind that counts for the loaded checkpoint, empty for an ordinary one
    """
    host = present(found, {**HOSTS_OWN, **(HIRES if tab == TABS[0] else {})}, tab)
    course = course if set(host) >= NEEDED else None

    def refresh(*values: Any) -> list[Any]:
        args, said = values[: len(panel.inputs)], dict(zip(host, values[len(panel.inputs) :]))
        known = None if course is None else _once(course)
        header = header_of(schema, args, said, model(), known)
        view = [gr.update(label=header.title), notes_html(header.notes)]
        return view if known is None else [*view, drawn(schema, known, args, said)]

    outputs = [panel.accordion, panel.notes, *([] if course is None else [panel.plot])]
    refresh_on_change(ASK.format(tab=tab), [*panel.inputs, *host.values()], refresh, outputs)
