"""The panel, made from the schema. Works with gradio 3.41 (A1111) and gradio 4.40 (Forge)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lib_sdfm.sampling.stages import Technique
from lib_sdfm.schema.fields import RESERVED, Field
from lib_sdfm.schema.params import Param
from lib_sdfm.schema.settings import Schema

from .paste import PasteTargets, Target

ElemId = Callable[[str], str]
InputAccordion = Callable[..., AbstractContextManager]


@dataclass(frozen=True)
class Panel:
    """What the host wants to know of a panel.

    :param inputs: the controls in the API's positional order
    :param paste_fields: controls and what pasting does to them
    :param sent: what "Send to" carries over
    """

    inputs: list[Any]
    paste_fields: list[tuple[Any, Target]]
    sent: list[Target]


def build_panel(
    schema: Schema, targets: PasteTargets, input_accordion: InputAccordion, elem_id: ElemId, notice: str = ""
) -> Panel:
    """Builds the controls; called several times per start by the hosts, and keeps nothing.

    :param input_accordion: the host's accordion that is a switch
    :param elem_id: the host's function that makes an id of a control unique
    :param notice: HTML that stands on top (installed originals, say)
    """
    controls: dict[str, Any] = {}
    with gr.Accordion("SDFM", open=False, elem_id=elem_id("sdfm")):
        if notice:
            gr.HTML(notice, elem_classes=["sdfm-notice"])
        pasted = gr.HTML("", elem_id=elem_id("pasted"), elem_classes=["sdfm-notice"])
        controls["recipe"] = _control(schema.by_id["recipe"], elem_id)
        for technique in schema.techniques:
            controls.update(_build_technique(schema, technique, input_accordion, elem_id))
        hidden = {name: gr.Textbox("", visible=False, elem_id=elem_id(name), label=name) for name in RESERVED.values()}
    for control in hidden.values():
        control.do_not_save_to_config = True
    inputs = [controls[f.id] if f else hidden[RESERVED[place]] for place, f in enumerate(schema.positional)]
    paste_fields = [(controls[f.id], targets.by_id[f.id]) for f in schema.fields]
    paste_fields += [(hidden["request"], targets.request), (hidden["notes"], targets.notes), (pasted, targets.notice)]
    return Panel(inputs, paste_fields, list(targets.by_id.values()))


def _build_technique(
    schema: Schema, technique: type[Technique], input_accordion: InputAccordion, elem_id: ElemId
) -> dict[str, Any]:
    fields = schema.in_panel_order(technique)
    with input_accordion(False, label=technique.title, elem_id=elem_id(technique.name)) as switch:
        gr.HTML(technique.summary, elem_classes=["sdfm-summary"])
        controls = {f.id: _control(f, elem_id) for f in fields if f.role == "setting" and not f.param.optional}
        hires = [f for f in fields if f.role == "hires" or f.param.optional]
        if hires:
            with gr.Accordion("Hires pass", open=False, elem_id=elem_id(f"{technique.name}_hires_values")):
                controls.update({f.id: _control(f, elem_id) for f in sorted(hires, key=lambda f: f.role != "hires")})
    return {f"{technique.name}.enabled": switch, **controls}


def _control(field: Field, elem_id: ElemId) -> Any:
    param = field.param
    common = {"label": param.label, "elem_id": elem_id(field.id.replace(".", "_")), "info": param.help}
    return CONTROLS[param.kind](param, field.control_default, common)


def _slider(param: Param, value: float, common: dict[str, Any]) -> Any:
    end = param.slider_maximum if param.slider_maximum is not None else param.maximum
    return gr.Slider(minimum=param.minimum, maximum=end, step=param.step, value=value, **common)


CONTROLS: dict[str, Callable[[Param, Any, dict[str, Any]], Any]] = {
    "number": _slider,
    "integer": _slider,
    "boolean": lambda param, value, common: gr.Checkbox(value=value, **common),
    "choice": lambda param, value, common: gr.Radio(choices=list(param.choices), value=value, **common),
    "text": lambda param, value, common: gr.Textbox(value=value, lines=1, **common),
}
