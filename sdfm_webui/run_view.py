"""The plot of the run in the panel, redrawn when a control of the panel or of the host changes."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from lib_sdfm.errors import UserError
from lib_sdfm.schema.settings import Schema

from .events import refresh_on_change
from .host_controls import TABS, present
from .run_course import RunCourse
from .run_plot import plot

PLOT = "script_{tab}_sdfm_plot"
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


def drawn(schema: Schema, course: RunCourse, args: Sequence[Any], values: Mapping[str, Any]) -> str:
    """Return the plot as HTML, or why there is none.

    :param args: the panel's arguments
    :param values: values of the host's controls by name
    """
    try:
        return plot(course(schema, schema.settings(schema.from_positional(args)), values))
    except UserError as error:
        return f'<p class="sdfm-plot-note">{html.escape(str(error))}</p>'


def connect_plot(schema: Schema, course: RunCourse, inputs: Sequence[Any], tab: str, found: Mapping[str, Any]) -> None:
    """Keep the plot of a tab up to date, if the host has the controls that it needs.

    :param inputs: the panel's controls in positional order
    :param found: all controls by id
    """
    host = present(found, {**HOSTS_OWN, **(HIRES if tab == TABS[0] else {})}, tab)
    place = PLOT.format(tab=tab)
    if place not in found or not set(host) >= NEEDED:
        return

    def refresh(*values: Any) -> str:
        return drawn(schema, course, values[: len(inputs)], dict(zip(host, values[len(inputs) :])))

    refresh_on_change(f"{place}_ask", [*inputs, *host.values()], refresh, [found[place]])
