"""Explanation of generation parameters or a payload in words, for ``POST /sdfm/v1/explain`` and the panel."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import UserError
from ..schema.hostkeys import is_host_key
from ..schema.infotext import Reading, parse_infotext, read_infotext
from ..schema.originals import OLD_ENTRIES
from ..schema.payload import resolve_values
from ..schema.settings import Schema, Settings, Values
from .plan import inert_features, plan_of

TITLE = "SDFM"
"""Our title in ``alwayson_scripts``."""
BASE_PASSES = 2
"""UNet passes per image and step without SDFM: conditional and unconditional."""


def explain_infotext(schema: Schema, text: str, claimed: Collection[str] = ()) -> dict[str, Any]:
    """Return what pasting generation parameters would run, the keys that were understood, and every unknown key.

    :param claimed: keys that the host pastes itself
    """
    pairs = parse_infotext(text)
    reading = read_infotext(schema, pairs, claimed)
    report = explain_values(schema, reading.values) if not reading.errors else {"recipe": reading.values["recipe"]}
    return {**report, "errors": reading.errors, "warnings": reading.warnings, **_keys(pairs, reading, claimed)}


def explain_payload(schema: Schema, body: Mapping[str, Any], claimed: Collection[str] = ()) -> dict[str, Any]:
    """Return what the body of a txt2img or img2img request would run: its ``alwayson_scripts``, and its ``infotext`` if any."""
    scripts = {title.lower(): _args_of(said) for title, said in body["alwayson_scripts"].items()}
    old = [(entry, scripts.pop(entry.title.lower())) for entry in OLD_ENTRIES if entry.title.lower() in scripts]
    text = body.get("infotext")
    pairs = parse_infotext(text) if isinstance(text, str) else {}
    reading = read_infotext(schema, pairs, claimed)
    args = scripts.pop(TITLE.lower(), [])
    keys = _keys(pairs, reading, claimed)
    said = {"warnings": reading.warnings, **keys, "unknown": [*keys["unknown"], *scripts]}
    try:
        if reading.errors:
            raise UserError("; ".join(reading.errors))
        return {**explain_values(schema, resolve_values(schema, args, old, reading.values)), "errors": [], **said}
    except UserError as error:
        return {"errors": [str(error)], **said}


def _args_of(said: Any) -> list[Any]:
    """Return a script's arguments; empty if the host would not accept them as a list."""
    args = said.get("args", []) if isinstance(said, Mapping) else []
    return args if isinstance(args, list) else []


def _keys(pairs: Mapping[str, Any], reading: Reading, claimed: Collection[str]) -> dict[str, list[str]]:
    """Return the understood and the unknown keys of generation parameters."""
    others = [key for key in pairs if key not in reading.used]
    unknown = [key for key in others if not is_host_key(key) and key not in claimed]
    return {"understood": [key for key in pairs if key in reading.used], "unknown": unknown}


def explain_values(schema: Schema, values: Values) -> dict[str, Any]:
    """Return recipe, techniques with their values, what is inert and why, further conditions, and the cost.

    :raises SettingError: if a value isn't allowed
    """
    settings = schema.settings(values)
    return {
        "recipe": settings.recipe,
        "techniques": {name: dataclasses.asdict(chosen) for name, chosen in settings.techniques.items()},
        "standing": {feature.name: dataclasses.asdict(feature.settings) for feature in schema.by_default(settings)},
        "inert": [{"technique": feature.name, "why": why} for feature, why in inert_features(schema, settings)],
        "conditions": _conditions(schema, settings),
        "passes": unet_passes(schema, settings),
    }


def _conditions(schema: Schema, settings: Settings) -> list[dict[str, str]]:
    """Return the conditions on the model and the host's settings for the techniques that are not inert."""
    plan = plan_of(schema, settings)
    working = {technique.name: technique for hires in (False, True) for technique in plan.working(hires)}
    wanted = {name: technique.condition() for name, technique in working.items()}
    return [{"technique": name, "needs": needed} for name, needed in wanted.items() if needed is not None]


def unet_passes(schema: Schema, settings: Settings) -> dict[str, int]:
    """Return the UNet passes per image and step, inside the techniques' windows."""
    working = plan_of(schema, settings).working(hires=False)
    extra = {technique.name: technique.passes(hires=False) for technique in working}
    return {"base": BASE_PASSES, **extra, "total": BASE_PASSES + sum(extra.values())}


def summary(schema: Schema, settings: Settings) -> str:
    """Return one line: what is active, what of it has no effect, and the cost; empty if nothing is on."""
    if not settings.techniques:
        return ""
    idle = {feature.name: why for feature, why in inert_features(schema, settings)}
    names = [f.label + (f" (no effect: {idle[f.name]})" if f.name in idle else "") for f in schema.chosen(settings)]
    passes = unet_passes(schema, settings)["total"]
    return f"{', '.join(names)} · recipe {settings.recipe} · {passes} UNet passes per step instead of {BASE_PASSES}"
