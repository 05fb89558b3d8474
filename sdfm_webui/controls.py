"""The panel, generated from the schema. Works with gradio 3.41 (A1111) and gradio 4.40 (Forge)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import gradio as gr

from lib_sdfm.schema.feature import PARTS
from lib_sdfm.schema.presets import PresetStore
from lib_sdfm.schema.settings import Schema

from .header import PANEL_TITLE
from .panel_rules import connect_rules
from .paste import PasteTargets, Target
from .preset_row import build_preset_row, connect_preset_row
from .technique_fold import ElemId, InputAccordion, build_technique, control_of, shown_names

Extra = Callable[[ElemId], Callable[[dict[str, Any]], None]]
"""Function that builds something and returns one that connects it to the controls of its part."""


@dataclass(frozen=True)
class Panel:
    """The panel's controls as the host needs them.

    :param inputs: the controls in the API's positional order
    :param paste_fields: controls with their paste functions
    :param sent: names of the values copied by "Send to"
    :param host_fields: hidden controls for fields of the host's API when it reads generation parameters, by the field's name
    :param accordion: the panel, whose title says what is on
    :param notes: the place for notes on the settings
    :param plot: the place for the plot of the run
    :param connect_presets: connects the row of presets, given the host's controls of ``preset_row.HOST_IDS``, and the tab
    """

    inputs: list[Any]
    paste_fields: list[tuple[Any, Target]]
    sent: list[Target]
    host_fields: dict[str, Any]
    accordion: Any
    notes: Any
    plot: Any
    connect_presets: Callable[[dict[str, Any], str], None]


def build_panel(
    schema: Schema,
    targets: PasteTargets,
    presets: PresetStore,
    input_accordion: InputAccordion,
    elem_id: ElemId,
    notice: str = "",
    extras: Mapping[str, Extra] = MappingProxyType({}),
    has_hires: bool = True,
) -> Panel:
    """Build the controls; called several times per start by the hosts, and keeps no state.

    :param presets: the store of presets
    :param input_accordion: the host's accordion with a switch
    :param elem_id: the host's function that makes a control's id unique
    :param notice: HTML shown at the top (about installed originals, for example)
    :param extras: by the part of the panel, what is built above its techniques
    :param has_hires: true if the tab has a hires pass
    """
    controls: dict[str, Any] = {}
    with gr.Accordion(PANEL_TITLE, open=False, elem_id=elem_id("panel"), elem_classes=["sdfm-panel"]) as accordion:
        gr.HTML(shown_names(schema.fields, elem_id))
        gr.HTML(notice, visible=bool(notice))
        pasted, notes = (gr.HTML("", elem_id=elem_id(name)) for name in ("pasted", "notes_now"))
        preset_row = build_preset_row(presets, elem_id)
        plot = gr.HTML("", elem_id=elem_id("plot"), elem_classes=["sdfm-run"])
        with gr.Tabs(elem_id=elem_id("parts"), selected=PARTS[0]):
            for part in PARTS:
                with gr.Tab(part, id=part, elem_id=elem_id(f"part_{part.lower()}")):
                    controls.update(_build_part(schema, part, input_accordion, elem_id, has_hires, extras.get(part)))
        controls.update(_build_last(schema, elem_id))
        api_fields = (*targets.by_api_field, *targets.by_hires_api_field)
        names = (*schema.reserved.values(), *api_fields)
        hidden = {name: gr.Textbox("", visible=False, elem_id=elem_id(name), label=name) for name in names}
    for control in (*hidden.values(), preset_row.name):
        control.do_not_save_to_config = True
    inputs = [controls[f.id] if f else hidden[schema.reserved[place]] for place, f in enumerate(schema.positional)]
    fields = [controls[f.id] for f in schema.fields]
    connect_presets = partial(connect_preset_row, schema, presets, preset_row, inputs, fields, [hidden["notes"], pasted])
    with accordion:
        connect_rules(schema, controls, elem_id)
    paste_fields = [(controls[f.id], targets.by_id[f.id]) for f in schema.fields]
    paste_fields += [(hidden["request"], targets.request), (hidden["notes"], targets.notes), (pasted, targets.notice)]
    sent, host_fields = list(targets.by_id.values()), {name: hidden[name] for name in api_fields}
    return Panel(inputs, paste_fields, sent, host_fields, accordion, notes, plot, connect_presets)


def _build_part(
    schema: Schema, part: str, input_accordion: InputAccordion, elem_id: ElemId, has_hires: bool, extra: Extra | None
) -> dict[str, Any]:
    """Build the techniques of a part of the panel."""
    connect = None if extra is None else extra(elem_id)
    controls: dict[str, Any] = {}
    for technique in schema.techniques:
        if technique.part == part and not technique.is_master:
            controls.update(build_technique(schema, technique, input_accordion, elem_id, has_hires))
    if connect is not None:
        connect(controls)
    return controls


def _build_last(schema: Schema, elem_id: ElemId) -> dict[str, Any]:
    """Build the recipe and the switch for all guidance, which the browser shows in the title."""
    controls = {"recipe": control_of(schema.by_id["recipe"], elem_id)}
    for technique in schema.techniques:
        if technique.is_master:
            switch = gr.Checkbox(
                value=True, label=technique.title, elem_id=f"{elem_id(technique.name)}-checkbox", elem_classes=["sdfm-master"]
            )
            switch.do_not_save_to_config = True  # guidance that is off at each start would be a trap
            controls[f"{technique.name}.enabled"] = switch
    return controls
