"""Files and texts of version 0.1 (tests/recorded/0.1) mean the same today: presets, flow memory, payloads, parameters."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lib_sdfm.catalog import SCHEMA, SHIPPED_PRESETS
from lib_sdfm.errors import UserError
from lib_sdfm.schema.infotext import parse_infotext, read_infotext
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.presets import PresetStore
from sdfm_webui.kind_memory import KindMemory

RECORDED = Path(__file__).parent / "recorded" / "0.1"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text(encoding="utf8"))


SETTINGS = recorded("settings.json")["settings"]


def said_by(settings: Any) -> dict[str, Any]:
    """Settings in the form of the recordings: the recipe, and by technique its settings object, ``None`` if it is off."""
    groups = [getattr(settings, field.name) for field in dataclasses.fields(settings)]
    techniques = [group for group in groups if isinstance(group, Mapping)]
    return {"recipe": settings.recipe, **{name: own for group in techniques for name, own in group.items()}}


def losses(old: str | dict[str, Any], settings: Any) -> list[str]:
    """Tell what is not as it was.

    :param old: what 0.1 made of it, or the name of such an entry in settings.json
    """
    old, now = SETTINGS[old] if isinstance(old, str) else old, said_by(settings)
    lost = [f"{name} is on, in 0.1 it was not" for name in now if name not in old]
    for name, was in old.items():
        if name not in now:
            lost.append(f"{name} is not on any more")
        elif not isinstance(was, dict) or now[name] is None:
            lost += [f"{name} was {was!r}, is {now[name]!r}"] if was != now[name] else []
        else:
            lost += _losses_of_technique(name, was, now[name])
    return lost


def _losses_of_technique(name: str, old: dict[str, Any], own: Any) -> list[str]:
    now, usual = dataclasses.asdict(own), dataclasses.asdict(type(own)())
    lost = [f"{name}.{key} is gone, it was {was!r}" for key, was in old.items() if key not in now]
    lost += [f"{name}.{key} was {was!r}, is {now[key]!r}" for key, was in old.items() if key in now and now[key] != was]
    new = [key for key in now if key not in old]
    return lost + [f"{name}.{key} is {now[key]!r}, which 0.1 did not have" for key in new if now[key] != usual[key]]


def told(what: str, old: str | dict[str, Any], read: Callable[[], Any]) -> list[str]:
    """The losses of one entry, an error among them."""
    try:
        return [f"{what}: {loss}" for loss in losses(old, read())]
    except UserError as error:
        return [f"{what}: {error}"]


def require_nothing_lost(lost: list[str]) -> None:
    if lost:
        pytest.fail("an upgrade from 0.1 would lose this:\n" + "\n".join(lost))


def test_presets_of_users_have_the_same_settings(tmp_path: Path):
    path = tmp_path / "user_presets.json"
    shutil.copy(RECORDED / path.name, path)
    store = PresetStore(SCHEMA, SHIPPED_PRESETS, path)
    names = list(recorded(path.name))
    lost = [f"preset {name!r} is not offered" for name in names if name not in store.names()]
    for name in names:
        lost += told(f"preset {name!r}", name, lambda name=name: SCHEMA.settings(store.values(name)))
    require_nothing_lost(lost)


def test_a_preset_can_be_saved_beside_those_of_0_1(tmp_path: Path):
    path = tmp_path / "user_presets.json"
    shutil.copy(RECORDED / path.name, path)
    store = PresetStore(SCHEMA, SHIPPED_PRESETS, path)
    store.save("new", store.values("pag alone"))
    written = json.loads(path.read_text(encoding="utf8"))
    assert {name: written[name] for name in recorded(path.name)} == recorded(path.name)
    require_nothing_lost(told("a copy of a preset", "pag alone", lambda: SCHEMA.settings(store.values("new"))))


def test_flow_models_are_remembered_with_their_shift(tmp_path: Path):
    path = tmp_path / "flow_models.json"
    shutil.copy(RECORDED / path.name, path)
    memory = KindMemory(path)
    was = recorded("settings.json")["flow_shifts"]
    lost = [f"{key}: its shift was {shift}, is {memory.shift(key)}" for key, shift in was.items() if memory.shift(key) != shift]
    for key, entry in recorded(path.name).items():
        known = memory.get(key)
        now = None if known is None else dataclasses.asdict(known)
        lost += [f"{key}: {entry} became {now}"] if now is None or not entry.items() <= now.items() else []
    require_nothing_lost(lost)


def test_places_of_the_positional_list_are_what_they_were():
    was, now = recorded("payloads.json")["positions"], SCHEMA.position_names
    names = [*now, *["nothing"] * len(was)]
    require_nothing_lost([f"args[{i}] was {name}, is {names[i]}" for i, name in enumerate(was) if names[i] != name])


def test_payloads_ask_for_the_same_settings():
    lost = []
    for entry in recorded("payloads.json")["payloads"]:
        lost += told(entry["about"], entry["settings"], lambda args=entry["args"]: resolve_job(SCHEMA, args).settings)
    require_nothing_lost(lost)


def test_every_place_of_the_list_is_recorded_with_a_value_of_its_own():
    """So that a place which is read wrongly is found."""
    lists = [entry["args"] for entry in recorded("payloads.json")["payloads"] if len(entry["args"]) > 1]
    places = [name for name in recorded("payloads.json")["positions"] if name not in ("request", "notes")]
    for place, name in enumerate(recorded("payloads.json")["positions"]):
        values = {json.dumps(args[place]) for args in lists if len(args) > place}
        assert len(values) > 1 or name not in places, f"{name} is the same in all recorded lists"


def test_texts_of_pictures_mean_the_same():
    lost = []
    for entry in recorded("texts.json"):
        reading = read_infotext(SCHEMA, parse_infotext(entry["text"]))
        lost += [f"text, {entry['about']}: {note}" for note in reading.errors + reading.warnings]
        lost += told(f"text, {entry['about']}", entry["settings"], lambda values=reading.values: SCHEMA.settings(values))
    require_nothing_lost(lost)


def test_every_technique_of_0_1_is_recorded():
    names = {place.partition(".")[0] for place in recorded("payloads.json")["positions"] if "." in place}
    texts = [entry["settings"] for entry in recorded("texts.json")]
    read = [SETTINGS[said] if isinstance(said, str) else said for said in texts]
    assert names <= {name for said in read for name in said}
    assert names <= {name for preset in recorded("user_presets.json").values() for name in preset}
