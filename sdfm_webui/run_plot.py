"""The plot of a run: CFG scale and noise level over the steps, a bar for each technique, the refiner's switch.

The drawings are SVG in the data's own coordinates (a step is one unit wide), stretched to the space that there is; the texts
beside them are HTML, so that they keep their size. All texts are escaped.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from itertools import groupby

from lib_sdfm.ops.flow import sigma_to_time
from lib_sdfm.planning.course import PlannedCall

from .run_course import Course, CoursePass, Handover

LONGEST_PROMPT = 90
ENDING = re.compile(r"(\.safetensors|\.ckpt)?( \[[0-9a-f]+\])?$")
"""Endings of checkpoint names that don't tell one from another."""
MARGIN = 0.08
"""Space above and below a line, as a share of its range."""
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
MOST_TICKS = 8

Point = tuple[float, float, float]
"""Beginning and end of a model call, in steps, and a value."""


def plot(course: Course) -> str:
    """Return the plot as HTML."""
    figures = "".join(_figure(one, course, len(course.passes) > 1) for one in course.passes)
    switched = any(one.sized.facts.switch is not None for one in course.passes)
    return f'<div class="sdfm-plot">{figures}{_prompts(course.handover) if switched else ""}</div>'


def _figure(one: CoursePass, course: Course, several: bool) -> str:
    """Return the plot of one pass."""
    facts, places = one.sized.facts, places_of(one.calls)
    name = {"run": "Run", "first pass": "First pass", "second pass": "Hires pass"}[one.name] if several else "Run"
    scale_label = "CFG scale" if all(call.call.cfg_unit == 1 for call in one.calls) else "CFG++ scale"
    rows = [
        _line(scale_label, "scale", scales(one.calls), _number, floor=0.0),
        _line("Time t", "noise", times(one.calls), _number)
        if facts.flow_model
        else _line("Noise level", "noise", levels(one.calls), lambda level: _number(10**level)),
        *(_bar(label, windows(one.calls, name), facts.steps) for name, label in course.labels.items()),
    ]
    if facts.switch is not None and course.handover is not None:
        rows.append(_switch_row(places[facts.switch][0], facts.steps, course.handover.refiner))
    said = f"{name}: {facts.steps} step{'' if facts.steps == 1 else 's'}, {facts.sampler}"
    note = f'<p class="sdfm-plot-note">Noise levels are approximate: {html.escape(one.unknown)}.</p>' if one.unknown else ""
    body = "".join(rows) + _axis(facts.steps) + _hover(one.calls, places, facts.steps, facts.switch)
    return f'<figure><figcaption>{html.escape(said)}</figcaption><div class="sdfm-plot-rows">{body}</div>{note}</figure>'


def places_of(calls: Sequence[PlannedCall]) -> list[tuple[float, float]]:
    """Return the beginning and end of each model call in steps; those of one step share it equally."""
    found = []
    for step, group in groupby(calls, key=lambda call: call.call.index):
        count = len(list(group))
        found += [(step + part / count, step + (part + 1) / count) for part in range(count)]
    return found


def scales(calls: Sequence[PlannedCall]) -> list[Point]:
    """Return the CFG scale of each model call."""
    return [(*place, call.shown_scale) for place, call in zip(places_of(calls), calls)]


def levels(calls: Sequence[PlannedCall]) -> list[Point]:
    """Return the logarithm to base 10 of the noise level of each model call."""
    return [(*place, math.log10(max(call.call.sigma, 1e-3))) for place, call in zip(places_of(calls), calls)]


def times(calls: Sequence[PlannedCall]) -> list[Point]:
    """Return a flow model's time of each model call, 1 for noise to 0."""
    return [(*place, sigma_to_time(call.call.sigma)) for place, call in zip(places_of(calls), calls)]


def windows(calls: Sequence[PlannedCall], name: str) -> list[tuple[float, float]]:
    """Return beginnings and ends of the stretches in which a technique is active, in steps."""
    marked = [(any(t.name == name for t in call.active), place) for place, call in zip(places_of(calls), calls)]
    stretches = [[place for _, place in group] for active, group in groupby(marked, key=lambda pair: pair[0]) if active]
    return [(places[0][0], places[-1][1]) for places in stretches]


def _line(label: str, kind: str, points: list[Point], text: object, floor: float | None = None) -> str:
    """Return a row with a curve of steps, in the coordinates of its data."""
    values = [value for _, _, value in points]
    low, high = min([*values, *([] if floor is None else [floor])]), max(values)
    margin = (high - low or 1.0) * MARGIN
    path = f"M{points[0][0]:g} {points[0][2]:.6g}" + "".join(f"V{value:.6g}H{end:.6g}" for _, end, value in points)
    box = f"0 {-(high + margin):.6g} {points[-1][1]:g} {high - low + 2 * margin:.6g}"
    drawing = (
        f'<svg class="sdfm-plot-{kind}" viewBox="{box}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path transform="scale(1 -1)" d="{path}" vector-effect="non-scaling-stroke"/></svg>'
    )
    first, last = text(values[0]), text(values[-1])
    shown = first if len(set(values)) == 1 else f"{first} \N{RIGHTWARDS ARROW} {last}"
    if len(set(values)) > 1 and max(values) not in (values[0], values[-1]):
        shown = f"{first} \N{RIGHTWARDS ARROW} {text(max(values))} \N{RIGHTWARDS ARROW} {last}"
    return _row(label, drawing, shown)


def _row(label: str, drawing: str, shown: str = "") -> str:
    value = f"<small>{html.escape(shown)}</small>" if shown else ""
    name = f'<div class="sdfm-plot-label"><span>{html.escape(label)}</span>{value}</div>'
    return f'{name}<div class="sdfm-plot-track">{drawing}</div>'


def _bar(label: str, stretches: list[tuple[float, float]], steps: int) -> str:
    bars = "".join(f'<rect x="{start:.6g}" width="{end - start:.6g}" y="0" height="1"/>' for start, end in stretches)
    return _row(
        label, f'<svg class="sdfm-plot-bar" viewBox="0 0 {steps} 1" preserveAspectRatio="none" aria-hidden="true">{bars}</svg>'
    )


def _switch_row(place: float, steps: int, refiner: str) -> str:
    """Return the row of the models: the refiner's part of the run, with its name."""
    share, name = f"{100 * place / steps:.4g}%", html.escape(ENDING.sub("", refiner))
    span = f'<span class="sdfm-plot-refiner" style="margin-left: {share}" title="{html.escape(refiner)}">{name}</span>'
    return _row("Refiner", f'<div class="sdfm-plot-models">{span}</div>', f"from step {int(place) + 1}")


def _axis(steps: int) -> str:
    """Return the row with the numbers of steps, at most :data:`MOST_TICKS` and the last."""
    every = next((tick for tick in TICKS if steps / tick <= MOST_TICKS), TICKS[-1])
    marks = sorted({1, *range(every, steps + 1, every)})
    texts = "".join(f'<span style="left: {100 * (mark - 0.5) / steps:.4g}%">{mark}</span>' for mark in marks)
    return f'<div class="sdfm-plot-label"><small>Step</small></div><div class="sdfm-plot-axis">{texts}</div>'


def _hover(calls: Sequence[PlannedCall], places: list[tuple[float, float]], steps: int, switch: int | None) -> str:
    """Return a strip over the whole height for each model call, whose tooltip has its numbers, and a mark at the switch."""
    mark = "" if switch is None else f'<b style="left: {100 * places[switch][0] / steps:.4g}%"></b>'
    strips = "".join(
        f'<i style="left: {100 * start / steps:.4g}%; width: {100 * (end - start) / steps:.4g}%" title="{_tooltip(call)}"></i>'
        for call, (start, end) in zip(calls, places)
    )
    return f'<div class="sdfm-plot-hover">{mark}{strips}</div>'


def _tooltip(call: PlannedCall) -> str:
    names = ", ".join(technique.label for technique in call.active)
    text = f"Step {call.call.index + 1}: CFG {_number(call.shown_scale)}, noise level {_number(call.call.sigma)}"
    return html.escape(f"{text}; {names}" if names else text)


def _prompts(handover: Handover | None) -> str:
    """Return the prompts before and after the switch, if any changes."""
    if handover is None or not handover.before:
        return ""
    names = ("Prompt", "Negative prompt")
    changed = [(name, *pair) for name, *pair in zip(names, handover.before, handover.after) if pair[0] != pair[1]]
    rows = "".join(
        f"<dt>{name}</dt><dd>{html.escape(_short(before))}</dd><dd>then {html.escape(_short(after))}</dd>"
        for name, before, after in changed
    )
    return f'<dl class="sdfm-plot-prompts">{rows}</dl>'


def _short(text: str) -> str:
    text = " ".join(text.split()) or "(empty)"
    return text if len(text) <= LONGEST_PROMPT else text[: LONGEST_PROMPT - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _number(value: float) -> str:
    return f"{value:.3g}"
