"""The row of presets: what choosing, saving, deleting and undoing give, without a page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from lib_sdfm.catalog import SCHEMA, SHIPPED_PRESETS
from lib_sdfm.schema.presets import PresetStore
from lib_sdfm.schema.request import apply_request
from sdfm_webui.preset_row import PresetActions

EVIL = "<img src=x onerror=alert(1)>"
HOST = {
    "sampler_name": SimpleNamespace(choices=["Euler", "DPM++ 2M"]), "scheduler": SimpleNamespace(choices=[("Beta", "Beta")]),
    "steps": SimpleNamespace(), "cfg_scale": SimpleNamespace(), "negative_prompt": SimpleNamespace(),
}  # fmt: skip
OWN = ["DPM++ 2M", "Automatic", 20, 7.0, ""]
FIELDS = [field.id for field in SCHEMA.fields]


@pytest.fixture
def store(tmp_path: Path) -> PresetStore:
    return PresetStore(SCHEMA, SHIPPED_PRESETS, tmp_path / "presets.json")


@pytest.fixture
def actions(store: PresetStore) -> PresetActions:
    return PresetActions(SCHEMA, store, HOST, SCHEMA.positional, cleared=2)


def values(**request: Any) -> list[Any]:
    """The panel's values, and those of the host behind them."""
    shown = SCHEMA.shown(apply_request(SCHEMA, SCHEMA.defaults(), request))
    return [*("" if field is None else shown[field.id] for field in SCHEMA.positional), *OWN]


class Answered:
    """The updates of one action, by what they are for."""

    def __init__(self, updates: list[Any]) -> None:
        own = updates[len(FIELDS) + 2 :]
        self.panel = {id: update["value"] for id, update in zip(FIELDS, updates) if "value" in update}
        self.host = {name: update["value"] for name, update in zip(HOST, own) if "value" in update}
        self.message, self.before, save, delete, self.asked = updates[-5:]
        self.save, self.delete = save["value"], delete["value"]


def does(actions: PresetActions, action: str, name: str = "", values_: list[Any] | None = None, **more: Any) -> Answered:
    given = {"asked": "", "before": None, "also": True, **more}
    return Answered(actions.act(action, given["asked"], given["before"], name, given["also"], *(values_ or values())))


def test_choosing_loads_and_says_what_has_changed(actions: PresetActions):
    before = values(seg={})
    done = does(actions, "choose", "Flow matching with PAG (bigASP v2.5)", before)
    assert done.panel["pag.enabled"] and done.panel["pag.scale"] == 2 and not done.panel["seg.enabled"]
    assert done.before == ("Flow matching with PAG (bigASP v2.5)", before)
    assert done.host == {"sampler_name": "Euler", "steps": 28, "cfg_scale": 3, "negative_prompt": "low quality"}
    for line in ("PAG on: PAG scale 2", "SEG off", "Flow matching on: Flow shift 6", "Sampler DPM++ 2M \u2192 Euler",
                 "CFG scale 7 \u2192 3", "Negative prompt (empty) \u2192 low quality", "no Schedule type Normal"):  # fmt: skip
        assert line in done.message, line


def test_values_of_the_hires_pass_that_follow_are_not_told(actions: PresetActions):
    said = does(actions, "load", "PAG", values(pag={"scale": 2, "end_step": 9})).message
    assert "PAG scale 2 \u2192 3" in said and "hires pass" not in said
    assert "hires pass" in does(actions, "load", "PAG", values(pag={"scale": 2, "hires_scale": 1})).message


def test_the_hosts_values_are_left_alone_if_asked(actions: PresetActions):
    done = does(actions, "choose", "Flow matching (bigASP v2.5)", also=False)
    assert done.host == {} and "CFG scale" not in done.message.split("Changed")[1]


def test_undo_gives_back_what_was_there(actions: PresetActions):
    before = values(pag={"scale": 2.5, "hires_scale": 1.5})
    done = does(actions, "undo", before=does(actions, "choose", "NAG", before).before)
    assert done.panel["pag.scale"] == 2.5 and done.panel["pag.hires"] and not done.panel["nag.enabled"]
    assert list(done.host.values()) == OWN and done.before is None
    assert "nothing to undo" in does(actions, "undo").message
    done = does(actions, "reset", values_=before)
    assert not done.panel["pag.enabled"] and "PAG off" in done.message and done.before == ("", before)


def test_a_name_that_is_typed_changes_nothing(actions: PresetActions):
    done = does(actions, "choose", "  Mine", values(pag={}))
    assert (done.panel, done.host) == ({}, {}) and "Press Save" in done.message and "\u201cMine\u201d" in done.message
    assert does(actions, "choose").message == "" and "the name of a preset" in does(actions, "load", "Mine").message


def test_overwriting_and_deleting_are_asked_for(actions: PresetActions, store: PresetStore):
    assert "is saved" in does(actions, "save", "Mine", values(pag={"scale": 2})).message
    assert store.get("Mine").host == dict(zip(HOST, OWN))
    done = does(actions, "save", "Mine", values(seg={}))
    assert done.save == "Overwrite" and "exists" in done.message and "pag" in store.get("Mine").request
    assert "exists" in does(actions, "save", "Mine", values(seg={}), asked="Save Other").message
    assert "is saved" in does(actions, "save", "Mine", values(seg={}), asked=done.asked, also=False).message
    assert "seg" in store.get("Mine").request and store.get("Mine").host == {}
    done = does(actions, "delete", "Mine", asked=done.asked)
    assert (done.save, done.delete) == ("Save", "Really delete") and store.is_own("Mine")
    assert "is deleted" in does(actions, "delete", "Mine", asked=done.asked).message and not store.is_own("Mine")


def test_shipped_ones_stay(actions: PresetActions):
    assert "a name of your own" in does(actions, "save", "PAG", asked="Save PAG").message
    assert "one of your own" in does(actions, "delete", "PAG", asked="Delete PAG").message


def test_names_are_text(actions: PresetActions):
    said = [does(actions, action, EVIL).message for action in ("choose", "load", "save", "save", "delete", "choose")]
    assert all("<img" not in text for text in said) and sum("&lt;img" in text for text in said) == 5
    assert EVIL in actions.names()["choices"]


def test_a_choice_that_is_told_twice_keeps_its_message(actions: PresetActions):
    first = does(actions, "choose", "PAG", also=False)
    again = does(actions, "choose", "PAG", values(pag={"scale": 3}), before=first.before, also=False)
    assert again.message == again.before == gr.update()
    assert "Nothing changed" in does(actions, "load", "PAG", values(pag={"scale": 3}), before=first.before, also=False).message
