"""One technique in the panel: its switch, its controls and folds, and what the browser needs to know of them.

The hosts key ``ui-config.json`` by labels, which are therefore unique and of one text for ever. javascript/sdfm_panel.js shows
them without the technique's name, by the data that are written here.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import gradio as gr

from lib_sdfm.sampling.stages import ORIGINAL
from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.fields import HIRES_GROUP, Field
from lib_sdfm.schema.params import Param
from lib_sdfm.schema.settings import Schema

ElemId = Callable[[str], str]
InputAccordion = Callable[..., AbstractContextManager]
MANY_CHOICES = 4
OURS = "sdfm-ours"
"""Class of what the old extensions lack, which is disabled in recipe original."""


def build_technique(
    schema: Schema, technique: type[Feature], input_accordion: InputAccordion, elem_id: ElemId, has_hires: bool
) -> dict[str, Any]:
    """Build a technique and return its controls by field id.

    :param has_hires: true if the tab has a hires pass
    """
    fields = [f for f in schema.in_panel_order(technique) if f.role != "switch"]
    groups: dict[str | None, list[Field]] = {None: []}
    for field in fields:
        groups.setdefault(field.group, []).append(field)
    controls: dict[str, Any] = {}
    with _fold_with_switch(technique, input_accordion, elem_id(technique.name)) as switch:
        gr.HTML(_summary(technique))
        for group, members in groups.items():
            with _group(group, f"{elem_id(technique.name)}_{_slug(group)}", has_hires):
                controls.update(_build_controls(members, elem_id))
    return {f"{technique.name}.enabled": switch, **controls}


def control_of(field: Field, elem_id: ElemId) -> Any:
    """Build the control of a field."""
    param = field.param
    common = {"label": param.label, "elem_id": elem_id(field.id.replace(".", "_")), "info": param.help}
    common["elem_classes"] = [] if ORIGINAL in field.recipes else [OURS]
    return CONTROLS[param.kind](param, field.control_default, common)


def shown_names(fields: list[Field], elem_id: ElemId) -> str:
    """Return HTML, not to be seen, that tells the browser the panel's own names of settings and values."""
    named = {elem_id(f.id): [f.param.shown_as[0], dict(f.param.shown_as[1])] for f in fields if f.param.shown_as}
    return f'<div hidden data-sdfm-shown="{html.escape(json.dumps(named))}"></div>'


@contextmanager
def _fold_with_switch(technique: type[Feature], input_accordion: InputAccordion, id: str) -> Iterator[Any]:
    """Build the accordion of a technique and its switch; what is on by default has no accordion."""
    if not technique.on_by_default:
        with input_accordion(False, label=technique.title, elem_id=id) as switch:
            yield switch
        return
    with gr.Column(elem_id=id, elem_classes=["sdfm-plain"]):
        yield gr.Checkbox(value=True, label=technique.title, elem_id=f"{id}-checkbox")


def _group(group: str | None, id: str, has_hires: bool) -> AbstractContextManager:
    if group is None:
        return nullcontext()
    is_hires = group == HIRES_GROUP
    kind = ["sdfm-group", "sdfm-hires"] if is_hires else ["sdfm-group"]
    return gr.Accordion(group, open=False, elem_id=id, elem_classes=kind, visible=has_hires or not is_hires)


def _slug(group: str | None) -> str:
    return str(group).lower().replace(" ", "_")


def _summary(technique: type[Feature]) -> str:
    """Return the paragraph about a technique, with the beginnings of labels that are not shown in it."""
    names = [technique.label, technique.label.split()[0]]
    ours = " data-sdfm-ours" if ORIGINAL not in technique.recipes else ""
    prefixes = html.escape(json.dumps(list(dict.fromkeys(names))))
    return f'<p class="sdfm-summary" data-sdfm-prefixes="{prefixes}"{ours}>{html.escape(technique.summary)}</p>'


def _build_controls(fields: list[Field], elem_id: ElemId) -> dict[str, Any]:
    """Build controls, which style.css puts into columns: rows of gradio's would be a tenth of the page."""
    return {
        field.id: _with_suggestions(field, elem_id) if field.param.suggestions else control_of(field, elem_id)
        for field in fields
    }


def _with_suggestions(field: Field, elem_id: ElemId) -> Any:
    """Build a text with buttons for its usual values."""
    control = control_of(field, elem_id)
    buttons = [
        f'<button type="button" value="{html.escape(value)}">{html.escape(name)}</button>'
        for value, name in field.param.suggestions
    ]
    gr.HTML(f'<div class="sdfm-chips" data-sdfm-for="{control.elem_id}">{"".join(buttons)}</div>')
    return control


def _slider(param: Param, value: float, common: dict[str, Any]) -> Any:
    end = param.slider_maximum if param.slider_maximum is not None else param.maximum
    return gr.Slider(minimum=param.minimum, maximum=end, step=param.step, value=value, **common)


def _choice(param: Param, value: str, common: dict[str, Any]) -> Any:
    control = gr.Dropdown if len(param.choices) > MANY_CHOICES else gr.Radio
    return control(choices=list(param.choices), value=value, **common)


CONTROLS: dict[str, Callable[[Param, Any, dict[str, Any]], Any]] = {
    "number": _slider,
    "integer": _slider,
    "boolean": lambda param, value, common: gr.Checkbox(value=value, **common),
    "choice": _choice,
    "text": lambda param, value, common: gr.Textbox(value=value, lines=1, **common),
}
