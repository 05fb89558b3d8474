"""The panel, built with whichever gradio is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from lib_sdfm.catalog import SCHEMA, SHIPPED_PRESETS
from lib_sdfm.schema.fields import RESERVED
from lib_sdfm.schema.infotext import parse_infotext
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.presets import PresetStore
from lib_sdfm.techniques.pag import PagSettings
from sdfm_webui.controls import Panel, build_panel
from sdfm_webui.header import header_of
from sdfm_webui.paste import PasteTargets
from sdfm_webui.run_view import connect_view
from tests.webui.host import input_accordion

pytestmark = pytest.mark.panel
TARGETS = PasteTargets(SCHEMA)
TYPES = {"number": float, "integer": int, "boolean": bool, "choice": str, "text": str}
LARGEST_EVENTS = 30 * 1024
"""Characters of the page's configuration that the events of both tabs may take."""


def build(folder: Path, tab: str = "txt2img") -> Panel:
    store = PresetStore(SCHEMA, SHIPPED_PRESETS, folder / "presets.json")
    panel = build_panel(SCHEMA, TARGETS, store, input_accordion, lambda name: f"{tab}_{name}", "<p>notice</p>")
    connect_view(SCHEMA, panel, tab)
    panel.connect_presets({}, tab)
    return panel


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    with gr.Blocks():
        return build(tmp_path)


def test_the_controls_stand_in_positional_order(panel: Panel):
    assert len(panel.inputs) == len(SCHEMA.positional)
    for place, (control, field) in enumerate(zip(panel.inputs, SCHEMA.positional)):
        assert control.label == (RESERVED[place] if field is None else field.param.label)


def test_defaults_have_their_final_types(panel: Panel):
    """The hosts cast pasted values to the type of a control's default."""
    for control, field in zip(panel.inputs, SCHEMA.positional):
        kind = str if field is None else TYPES[field.param.kind]
        assert type(control.value) is kind, control.label
        assert control.value == ("" if field is None else field.control_default)


def test_untouched_controls_run_nothing(panel: Panel):
    assert resolve_job(SCHEMA, [control.value for control in panel.inputs]).settings.techniques == {}


def test_switching_a_technique_on_runs_its_defaults(panel: Panel):
    args = [control.value for control in panel.inputs]
    args[SCHEMA.position_names.index("pag.enabled")] = True
    assert resolve_job(SCHEMA, args).settings.techniques == {"pag": PagSettings()}


def test_sliders_offer_what_is_allowed(panel: Panel):
    for control, field in zip(panel.inputs, SCHEMA.positional):
        if isinstance(control, gr.Slider):
            assert control.minimum == field.param.minimum
            assert field.param.check(control.maximum) == control.maximum
            assert control.step


def test_hidden_controls_are_hidden_and_not_saved(panel: Panel):
    for place in RESERVED:
        assert panel.inputs[place].visible is False
        assert panel.inputs[place].do_not_save_to_config is True


def test_hosts_build_it_several_times(tmp_path: Path):
    """Once per tab, and twice more to learn the defaults of the API."""
    with gr.Blocks() as demo:
        panels = [build(tmp_path, "txt2img"), build(tmp_path, "img2img")]
        ids = [block.elem_id for block in demo.blocks.values() if getattr(block, "elem_id", None)]
        again = build(tmp_path)
    assert len(set(ids)) == len(ids)
    assert all(control.elem_id for panel in panels for control in panel.inputs)
    first, second = ([target for _, target in panel.paste_fields] for panel in panels)
    assert first == second == [target for _, target in again.paste_fields]
    assert not {id(control) for control in panels[0].inputs} & {id(control) for control in panels[1].inputs}
    assert demo.get_config_file()["components"]


def test_send_to_pairs_the_same_targets(panel: Panel):
    pasted = [target for _, target in panel.paste_fields]
    assert {id(target) for target in panel.sent} <= {id(target) for target in pasted}
    assert len(panel.sent) == len(SCHEMA.fields)


def test_every_input_is_pasted_to_and_every_value_is_its_type(panel: Panel):
    targets = {id(component): target for component, target in panel.paste_fields}
    texts = ["Steps: 1, Seed: 1, CFG scale: 1", "Steps: 1, Seed: 1, PAG Active: True, PAG Scale: 1.5, PAG End Step: 7, SDFM: 1"]
    for control in panel.inputs:
        for text in texts:
            value = targets[id(control)](parse_infotext(text))
            assert type(value) is type(control.value), control.label
            assert type(control.value)(value) == value  # what the API's paste does with it


def test_a_pasted_text_runs(panel: Panel):
    targets = {id(component): target for component, target in panel.paste_fields}
    params = parse_infotext("Steps: 1, Seed: 1, PAG Active: True, PAG Scale: 1.5, PAG End Step: 7, SDFM: 1")
    args = [targets[id(control)](params) for control in panel.inputs]
    assert resolve_job(SCHEMA, args).settings.techniques == {"pag": PagSettings(scale=1.5, end_step=7)}


def args_of(panel: Panel, **changed: Any) -> tuple[Any, ...]:
    values = {name: control.value for name, control in zip(SCHEMA.position_names, panel.inputs)}
    return tuple({**values, **{name.replace("__", "."): value for name, value in changed.items()}}.values())


def test_the_title_says_what_is_on_and_what_it_costs(panel: Panel):
    assert header_of(SCHEMA, args_of(panel)).title == "SDFM"
    assert header_of(SCHEMA, args_of(panel, pag__enabled=True)).title == "SDFM: PAG, about +34% time"
    idle = header_of(SCHEMA, args_of(panel, pag__enabled=True, pag__scale=0.0))
    assert "PAG (no effect)" in idle.title and idle.notes == ["PAG has no effect: its scale is 0."]
    wrong = header_of(SCHEMA, args_of(panel, pag__enabled=True, pag__layers="nowhere"))
    assert wrong.title == "SDFM: \N{WARNING SIGN} PAG Layers" and "nowhere" in wrong.notes[0]
    old = header_of(SCHEMA, args_of(panel, pag__enabled=True, recipe="original"))
    assert old.title.endswith("as the old extensions")


def test_the_title_knows_the_host(panel: Panel):
    args = args_of(panel, cfg_rescale__enabled=True)
    assert "(no effect)" not in header_of(SCHEMA, args, {"cfg_scale": 7, "sampler": "Euler", "steps": 20}).title
    assert "(no effect)" in header_of(SCHEMA, args, {"cfg_scale": 1, "sampler": "Euler", "steps": 20}).title
    assert header_of(SCHEMA, args_of(panel), model="v-prediction").title == "SDFM: v-prediction"


@pytest.mark.parametrize("sampler, scale, chosen, mark", [
    ("Euler CFG++", 7, {}, "CFG 7 is too high"), ("Euler CFG++", 2, {}, ""), ("Euler", 7, {}, ""),
    ("Euler CFG++", 1, {"pag__enabled": True}, "PAG 3 is too strong"),
    ("Euler", 7, {"pag__enabled": True, "cfgpp__enabled": True}, "PAG 3 is too strong"),
    ("Euler", 7, {"pag__enabled": True, "pag__scale": 0.25, "cfgpp__enabled": True}, ""),
    ("Euler", 7, {"pag__enabled": True}, ""),
])  # fmt: skip
def test_what_ruins_a_picture_is_marked(panel: Panel, sampler: str, scale: float, chosen: dict[str, Any], mark: str):
    header = header_of(SCHEMA, args_of(panel, **chosen), {"sampler": sampler, "cfg_scale": scale})
    assert (mark in header.title) and ("\N{WARNING SIGN}" in header.title) is bool(mark) is bool(header.notes)


def test_with_guidance_off_the_title_names_what_is_kept(panel: Panel):
    args = args_of(panel, guidance__enabled=False, pag__enabled=True, freeu__enabled=True)
    assert header_of(SCHEMA, args).title == "SDFM: off (PAG, FreeU)"
    assert header_of(SCHEMA, args_of(panel, guidance__enabled=False)).title == "SDFM: off"
    assert resolve_job(SCHEMA, args).settings == resolve_job(SCHEMA, args_of(panel)).settings


def test_a_damaged_preset_file_does_not_take_the_panel_down(tmp_path: Path):
    (tmp_path / "presets.json").write_text("{")
    with gr.Blocks():
        assert len(build(tmp_path).inputs) == len(SCHEMA.positional)


def test_events_are_a_small_part_of_the_page(tmp_path: Path):
    """The page's configuration names each control a few times, not once per other control."""
    with gr.Blocks() as demo:
        panels = [build(tmp_path, tab) for tab in ("txt2img", "img2img")]
    events = demo.get_config_file()["dependencies"]
    assert len(json.dumps(events)) < LARGEST_EVENTS
    changes = [targets for event in events if (targets := targets_of(event, "change"))]
    assert changes == [[control._id for control in panel.inputs] for panel in panels]


def test_a_value_that_implies_another_sets_it_when_it_is_moved(tmp_path: Path):
    with gr.Blocks() as demo:
        named = dict(zip(SCHEMA.position_names, build(tmp_path).inputs))
    expected: dict[int, set[int]] = {}
    for field in SCHEMA.fields:
        for other, _ in field.param.implies:
            expected.setdefault(named[f"{field.technique.name}.{other}"]._id, set()).add(named[field.id]._id)
    events = [(event, set(targets_of(event, "input"))) for event in demo.get_config_file()["dependencies"]]
    known = {control._id for control in named.values()}
    moved = {event["outputs"][0]: ids for event, ids in events if ids & known and len(event["outputs"]) == 1}
    assert named["freeu.preset"]._id in expected and moved == expected
    hires = {named[field.id]._id for field in SCHEMA.fields if field.role == "setting" and field.param.optional}
    switches = {named[field.id]._id for field in SCHEMA.fields if field.role == "hires"}
    assert [set(event["outputs"]) for event, ids in events if ids == hires] == [switches]


SAVED = {gr.Slider: ("value", "minimum", "maximum", "step"), gr.Button: ("visible",)}
"""Attributes that the hosts keep in ui-config.json of a kind of control; of the others the value."""


def load_defaults(blocks: gr.Blocks, tab: str, file: dict[str, Any]) -> list[str]:
    """Give controls the file's values, and the file those that it lacks, as the hosts do; return the keys that changed."""
    changed = []
    for block in blocks.blocks.values():
        if not isinstance(block, gr.components.FormComponent | gr.Button) or getattr(block, "do_not_save_to_config", False):
            continue
        for attribute in SAVED.get(type(block), ("value",)):
            key = f"{tab}/{block.value if isinstance(block, gr.Button) else block.label}/{attribute}"
            value = getattr(block, attribute)
            if file.setdefault(key, value) != value:
                changed.append(key)
                setattr(block, attribute, file[key])
    return changed


def test_the_file_of_defaults_changes_nothing(tmp_path: Path):
    """Controls of one label would get each other's values."""
    file: dict[str, Any] = {}
    for _ in range(2):
        for tab in ("txt2img", "img2img"):
            with gr.Blocks() as blocks:
                build(tmp_path, tab)
            known = len(file)
            assert load_defaults(blocks, tab, file) == []
    assert len(file) == known > 700


def targets_of(event: dict[str, Any], name: str) -> list[int]:
    """Ids of the controls whose event of a name this is; gradio 3 has the name apart."""
    pairs = [(target, event["trigger"]) for target in event["targets"]] if "trigger" in event else event["targets"]
    return [id for id, trigger in pairs if trigger == name]


def test_the_title_counts_what_was_not_read_of_a_pasted_text(panel: Panel):
    args = [control.value for control in panel.inputs]
    pasted = {"Steps": "20", "PAG Active": "True", "PAG Scale": "much", "SCFG Active": "True"}
    args[2] = TARGETS.notes(pasted)
    assert header_of(SCHEMA, args).title == "SDFM: \N{WARNING SIGN} 1 value not read, 1 note on the pasted text"
    args[2] = TARGETS.notes({"Steps": "20", "SCFG Active": "True"})
    assert header_of(SCHEMA, args).title == "SDFM: \N{WARNING SIGN} 1 note on the pasted text"
    args[2] = TARGETS.notes({"Steps": "20"})
    assert header_of(SCHEMA, args).title == "SDFM"
