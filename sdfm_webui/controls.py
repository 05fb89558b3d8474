"""The panel, generated from the schema. Works with gradio 3.41 (A1111) and gradio 4.40 (Forge)."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any

import gradio as gr

from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.params import Param
from lib_sdfm.schema.presets import PresetStore
from lib_sdfm.schema.settings import Schema

from .events import run_on
from .header import PANEL_TITLE, connect_header
from .paste import PasteTargets, Target
from .preset_row import build_preset_row, connect_preset_row

ElemId = Callable[[str], str]
InputAccordion = Callable[..., AbstractContextManager]
MANY_CHOICES = 4
CONTROLS_PER_ROW = 2


@dataclass(frozen=True)
class Panel:
    """The panel's controls as the host needs them.

    :param inputs: the controls in the API's positional order
    :param paste_fields: controls with their paste functions
    :param sent: names of the values copied by "Send to"
    :param host_fields: hidden controls for fields of the host's API when it reads generation parameters, by the field's name
    """

    inputs: list[Any]
    paste_fields: list[tuple[Any, Target]]
    sent: list[Target]
    host_fields: dict[str, Any]


def build_panel(
    schema: Schema,
    targets: PasteTargets,
    presets: PresetStore,
    input_accordion: InputAccordion,
    elem_id: ElemId,
    notice: str = "",
    extras: Mapping[str, Callable[[Any, dict[str, Any]], None]] = MappingProxyType({}),
) -> Panel:
    """Build the controls; called several times per start by the hosts, and keeps no state.

    :param presets: the store of presets
    :param input_accordion: the host's accordion with a switch
    :param elem_id: the host's function that makes a control's id unique
    :param notice: HTML shown at the top (about installed originals, for example)
    :param extras: functions by the title of a part that build more in it, given its accordion and its controls
    """
    controls: dict[str, Any] = {}
    with gr.Accordion(PANEL_TITLE, open=False, elem_id=elem_id("panel"), elem_classes=["sdfm-panel"]) as accordion:
        gr.HTML(notice, visible=bool(notice), elem_classes=["sdfm-notice"])
        pasted = gr.HTML("", elem_id=elem_id("pasted"), elem_classes=["sdfm-notice"])
        preset_row = build_preset_row(presets, elem_id)
        gr.HTML("", elem_id=elem_id("plot"), elem_classes=["sdfm-run"])
        controls["recipe"] = _control(schema.by_id["recipe"], elem_id)
        for part, techniques in groupby(schema.techniques, key=lambda technique: technique.part):
            with _part_fold(part, elem_id) as fold:
                built = [_build_technique(schema, technique, input_accordion, elem_id) for technique in techniques]
                controls.update(ChainMap(*built))
                if part in extras:
                    extras[part](fold, dict(ChainMap(*built)))
        api_fields = (*targets.by_api_field, *targets.by_hires_api_field)
        names = (*schema.reserved.values(), *api_fields)
        hidden = {name: gr.Textbox("", visible=False, elem_id=elem_id(name), label=name) for name in names}
    for control in (*hidden.values(), preset_row.name):
        control.do_not_save_to_config = True
    inputs = [controls[f.id] if f else hidden[schema.reserved[place]] for place, f in enumerate(schema.positional)]
    with accordion:
        connect_header(schema, accordion, inputs, elem_id)
    fields = [controls[f.id] for f in schema.fields]
    connect_preset_row(schema, presets, preset_row, inputs, fields, [hidden["notes"], pasted])
    _connect_implied(schema, controls)
    paste_fields = [(controls[f.id], targets.by_id[f.id]) for f in schema.fields]
    paste_fields += [(hidden["request"], targets.request), (hidden["notes"], targets.notes), (pasted, targets.notice)]
    return Panel(inputs, paste_fields, list(targets.by_id.values()), {name: hidden[name] for name in api_fields})


def _build_technique(
    schema: Schema,
    technique: type[Feature],
    input_accordion: InputAccordion,
    elem_id: ElemId,
) -> dict[str, Any]:
    fields = [f for f in schema.in_panel_order(technique) if f.role != "switch"]
    groups: dict[str | None, list[Field]] = {None: []}
    for field in sorted(fields, key=lambda f: f.role != "hires"):  # the switch of a fold stands before its values
        groups.setdefault(field.group, []).append(field)
    controls: dict[str, Any] = {}
    with _technique_fold(technique, input_accordion, elem_id(technique.name)) as switch:
        gr.HTML(technique.summary, elem_classes=["sdfm-summary"])
        for group, members in groups.items():
            fold_id = elem_id(f"{technique.name}_{str(group).lower().replace(' ', '_')}")
            with gr.Accordion(group, open=False, elem_id=fold_id) if group else nullcontext():
                controls.update(_build_rows(members, elem_id))
    return {f"{technique.name}.enabled": switch, **controls}


def _part_fold(part: str | None, elem_id: ElemId) -> AbstractContextManager:
    """Return the accordion of a part that several techniques share; nothing for ``None``."""
    return gr.Accordion(part, open=False, elem_id=elem_id(f"part_{part.lower().replace(' ', '_')}")) if part else nullcontext()


@contextmanager
def _technique_fold(technique: type[Feature], input_accordion: InputAccordion, id: str) -> Iterator[Any]:
    """Build the accordion of a technique and its switch: opening it switches the technique on, unless it is on by default."""
    if not technique.on_by_default:
        with input_accordion(False, label=technique.title, elem_id=id) as switch:
            yield switch
        return
    with gr.Accordion(technique.title, open=False, elem_id=id):
        yield gr.Checkbox(value=True, label=technique.title, elem_id=f"{id}-checkbox")


def _build_rows(fields: list[Field], elem_id: ElemId) -> dict[str, Any]:
    """Build rows of two controls; on a narrow screen the rows wrap."""
    controls = {}
    for first in range(0, len(fields), CONTROLS_PER_ROW):
        with gr.Row(elem_classes=["sdfm-row"]):
            for field in fields[first : first + CONTROLS_PER_ROW]:
                controls[field.id] = _control(field, elem_id)
    return controls


def _connect_implied(schema: Schema, controls: dict[str, Any]) -> None:
    """Set implied values when the user changes a control: a stage of FreeU, for example, sets its preset to custom."""
    movers: dict[tuple[str, Any], list[Any]] = {}
    for field in schema.fields:
        for other, implied in field.param.implies:
            movers.setdefault((f"{field.technique.name}.{other}", implied), []).append(controls[field.id])
    for (target, implied), moved in movers.items():
        run_on("input", moved, f"() => [{json.dumps(implied)}]", outputs=[controls[target]])


def _control(field: Field, elem_id: ElemId) -> Any:
    param = field.param
    common = {"label": param.label, "elem_id": elem_id(field.id.replace(".", "_")), "info": param.help}
    return CONTROLS[param.kind](param, field.control_default, common)


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
