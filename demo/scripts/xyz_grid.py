"""X/Y/Z plot, under the names that extensions add their axes to."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from copy import copy
from itertools import product
from typing import Any

import gradio as gr
import numpy as np
from modules import errors, images, processing, scripts, sd_models, sd_samplers, sd_schedulers
from modules.processing import Processed, process_images
from modules.shared import state

RANGE = re.compile(r"\s*([-+]?[\d.]+)\s*-\s*([-+]?[\d.]+)\s*(?:\(\s*([-+][\d.]+)\s*\)|\[\s*(\d+)\s*\])?\s*")
"""``1-5``, ``1-5 (+2)``: steps; ``1-5 [3]``: that many values."""


def format_value_add_label(p: Any, opt: AxisOption, x: Any) -> str:
    return f"{opt.label}: {round(x, 8) if isinstance(x, float) else x}"


def format_value(p: Any, opt: AxisOption, x: Any) -> Any:
    return round(x, 8) if isinstance(x, float) else x


def format_nothing(p: Any, opt: AxisOption, x: Any) -> str:
    return ""


class AxisOption:
    """One axis.

    :param type: makes a value of a text
    :param apply: called with a cell's processing object, its value, and all values
    :param confirm: called once with all values before anything is made; raises if one is not possible
    :param cost: how slow changing it is; the slowest is changed least often
    :param choices: gives the values to choose from
    """

    def __init__(
        self,
        label: str,
        type: Callable[[str], Any],
        apply: Callable[[Any, Any, list[Any]], None],
        format_value: Callable[..., Any] = format_value_add_label,
        confirm: Callable[[Any, list[Any]], None] | None = None,
        cost: float = 0.0,
        choices: Callable[[], list[str]] | None = None,
        prepare: Callable[[str], list[str]] | None = None,
    ) -> None:
        self.label, self.type, self.apply, self.format_value = label, type, apply, format_value
        self.confirm, self.cost, self.choices, self.prepare = confirm, cost, choices, prepare


class AxisOptionImg2Img(AxisOption):
    is_img2img = True


class AxisOptionTxt2Img(AxisOption):
    is_img2img = False


def apply_field(field: str) -> Callable[[Any, Any, list[Any]], None]:
    return lambda p, x, xs: setattr(p, field, x)


def apply_override(field: str) -> Callable[[Any, Any, list[Any]], None]:
    def apply(p: Any, x: Any, xs: list[Any]) -> None:
        p.override_settings[field] = x

    return apply


def apply_prompt(p: Any, x: str, xs: list[str]) -> None:
    """Search and replace: the first value is what is searched for."""
    sought, prompts = xs[0], (p.prompt, p.negative_prompt)
    if not any(sought in prompt for prompt in prompts):
        raise RuntimeError(f"Neither prompt contains {sought!r}, which Prompt S/R is to replace")
    p.prompt, p.negative_prompt = (prompt.replace(sought, x) for prompt in prompts)


def apply_checkpoint(p: Any, x: str, xs: list[str]) -> None:
    p.override_settings["sd_model_checkpoint"] = sd_models.get_closet_checkpoint_match(x).name


def confirm_samplers(p: Any, xs: list[str]) -> None:
    _require([x for x in xs if x.lower() not in sd_samplers.samplers_map], "sampler")


def confirm_checkpoints(p: Any, xs: list[str]) -> None:
    named = (x for x in xs if x not in ("", "None"))
    _require([x for x in named if sd_models.get_closet_checkpoint_match(x) is None], "checkpoint")


def _require(missing: list[str], kind: str) -> None:
    if missing:
        raise RuntimeError(f"There is no {kind} named {missing[0]!r}")


def _schedules() -> list[str]:
    return [item.label for item in sd_schedulers.schedulers]


axis_options = [
    AxisOption("Nothing", str, lambda p, x, xs: None, format_value=format_nothing),
    AxisOption("Seed", int, apply_field("seed")),
    AxisOption("CFG Scale", float, apply_field("cfg_scale")),
    AxisOption("Steps", int, apply_field("steps")),
    AxisOptionTxt2Img("Hires steps", int, apply_field("hr_second_pass_steps")),
    AxisOption("Prompt S/R", str, apply_prompt, format_value=format_value),
    AxisOption(
        "Sampler", str, apply_field("sampler_name"), format_value=format_value, confirm=confirm_samplers,
        choices=sd_samplers.visible_sampler_names,
    ),
    AxisOption("Schedule type", str, apply_field("scheduler"), choices=_schedules),
    AxisOption(
        "Checkpoint name", str, apply_checkpoint, format_value=format_value, confirm=confirm_checkpoints, cost=1.0,
        choices=sd_models.checkpoint_tiles,
    ),
    AxisOption("Denoising", float, apply_field("denoising_strength")),
    AxisOption("Eta", float, apply_field("eta")),
    AxisOption("Clip skip", int, apply_override("CLIP_stop_at_last_layers")),
    AxisOption(
        "Refiner checkpoint", str, apply_field("refiner_checkpoint"), format_value=format_value,
        confirm=confirm_checkpoints, cost=1.0, choices=sd_models.checkpoint_tiles,
    ),
    AxisOption("Refiner switch at", float, apply_field("refiner_switch_at")),
]  # fmt: skip


def axis_values(p: Any, option: AxisOption, text: str) -> list[Any]:
    """The values of an axis, confirmed.

    :raises Exception: whatever the axis raises for what it doesn't like
    """
    if option.label == "Nothing":
        return [0]
    if option.prepare is not None:
        texts = option.prepare(text)
    else:
        texts = [part.strip() for row in csv.reader(io.StringIO(text), skipinitialspace=True) for part in row]
    if option.type in (int, float):
        texts = [value for part in texts if part for value in _expanded(part, option.type)]
    values = [option.type(value) for value in texts]
    if option.confirm is not None:
        option.confirm(p, values)
    return values


def _expanded(part: str, kind: type) -> list[Any]:
    match = RANGE.fullmatch(part)
    if match is None:
        return [part]
    start, end, step, count = match.groups()
    if count is not None:
        return [kind(value) for value in np.linspace(float(start), float(end), int(count))]
    stride = float(step) if step is not None else 1.0
    return [kind(value) for value in np.arange(float(start), float(end) + stride / 2, stride)]


class Script(scripts.Script):
    def title(self) -> str:
        return "X/Y/Z plot"

    def ui(self, is_img2img: bool) -> list[Any]:
        """Type and values of three axes. Types go by their place in the list, as axes of extensions come last."""
        tab_options = [o for o in axis_options if getattr(o, "is_img2img", is_img2img) == is_img2img]
        self.current_axis_options = tab_options
        labels = [option.label for option in tab_options]
        controls: list[Any] = []
        for axis, first in (("x", 1), ("y", 0), ("z", 0)):
            with gr.Row():
                kind = gr.Dropdown(
                    labels,
                    value=labels[first],
                    type="index",
                    label=f"{axis.upper()} type",
                    elem_id=self.elem_id(f"{axis}_type"),
                )
                values = gr.Textbox("", label=f"{axis.upper()} values", lines=1, elem_id=self.elem_id(f"{axis}_values"))
            controls += [kind, values]
        return controls

    def run(self, p: Any, *chosen: Any) -> Processed:
        """Makes all cells: shallow copies of ``p`` that share its generation parameters. One that fails stays empty."""
        options = [self.current_axis_options[kind or 0] for kind in chosen[::2]]
        values = [axis_values(p, option, text) for option, text in zip(options, chosen[1::2])]
        processing.fix_seed(p)
        cells = {}
        state.job_count = len(list(product(*values))) * p.n_iter
        for place in self._order(options, values):
            cells[place] = self._cell(p, options, values, place)
        return self._finished(p, options, values, cells)

    def _order(self, options: list[AxisOption], values: list[list[Any]]) -> list[tuple[int, ...]]:
        """Places, so that what is slow to change stays as long as possible."""
        places = product(*(range(len(of_axis)) for of_axis in values))
        outer = sorted(range(3), key=lambda axis: (-options[axis].cost, -axis))
        return sorted(places, key=lambda place: [place[axis] for axis in outer])

    def _cell(self, p: Any, options: list[AxisOption], values: list[list[Any]], place: tuple[int, ...]) -> Processed:
        if state.interrupted:
            return Processed(p, [], p.seed)
        cell = copy(p)
        cell.override_settings = dict(p.override_settings)
        try:
            for option, of_axis, i in zip(options, values, place):
                option.apply(cell, of_axis[i], of_axis)
            return process_images(cell)
        except Exception as error:
            errors.display(error, "generating image for xyz plot")
            return Processed(p, [], p.seed)

    def _finished(self, p: Any, options: list[AxisOption], values: list[list[Any]], cells: dict) -> Processed:
        """One grid per value of Z, then the pictures of the cells."""
        labels = [[str(option.format_value(p, option, x)) for x in of_axis] for option, of_axis in zip(options, values)]
        xs, ys, zs = (range(len(of_axis)) for of_axis in values)
        empty = images.Image.new("RGB", (p.width, p.height))
        grids, pictures, texts = [], [], []
        for z in zs:
            row = [cells[x, y, z] for y in ys for x in xs]
            shown = [done.images[0] if done.images else empty for done in row]
            grid = images.draw_labels(images.image_grid(shown, rows=len(ys)), labels[0], labels[1] if any(labels[1]) else [])
            if labels[2][z]:
                grid = images.draw_labels(grid, [labels[2][z]], [])
            grid.info["parameters"] = row[0].infotexts[0]
            grids.append(grid)
            pictures += [picture for picture, done in zip(shown, row) if done.images]
            texts += [done.infotexts[0] for done in row if done.images]
        if not pictures:
            p.comment("X/Y/Z plot: no cell could be made; the console says why")
        infotexts = [grid.info["parameters"] for grid in grids] + texts
        return Processed(p, grids + pictures, p.seed, infotexts[0], infotexts=infotexts, index_of_first_image=len(grids))
