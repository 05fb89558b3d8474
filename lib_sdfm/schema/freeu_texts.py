"""FreeU's stages and schedule in generation parameters: the format of sd-webui-freeu, and ours for the hires pass."""

from __future__ import annotations

import json
from typing import Any

from ..errors import SettingError
from .params import plain

STAGES = (1, 2, 3)
CUSTOM = "Custom"

# name, name in generation parameters, default, smallest, largest, label, label of the original's axis, help
STAGE_FIELDS = (
    (
        "backbone",
        "backbone_factor",
        1.0,
        -1,
        3,
        "backbone",
        "Backbone Scale",
        "Scales the backbone features, which carry " "structure. 1.1 to 1.6 is usual; 1: unchanged.",
    ),
    (
        "skip",
        "skip_factor",
        1.0,
        -1,
        3,
        "skip",
        "Skip Scale",
        "Scales the low frequencies of the skip features, which carry " "detail. 0.2 to 0.9 is usual; 1: unchanged.",
    ),
    (
        "offset",
        "backbone_offset",
        0.0,
        0,
        1,
        "backbone offset",
        "Backbone Offset",
        "First scaled channel, as a share of all " "channels.",
    ),
    (
        "width",
        "backbone_width",
        0.5,
        0,
        1,
        "backbone width",
        "Backbone Width",
        "Share of all channels that is scaled. 0.5 is " "usual; 1: all.",
    ),
    (
        "cutoff",
        "skip_cutoff",
        0.0,
        0,
        1,
        "skip cutoff",
        "Skip Cutoff",
        "Share of the frequencies that counts as low. 0: only " "the very lowest.",
    ),
    (
        "high",
        "skip_high_end_factor",
        1.0,
        -1,
        3,
        "skip high end",
        "Skip High End Scale",
        "Scales the remaining, higher " "frequencies of the skip features. 1: unchanged.",
    ),
)
OLD_STAGE_NAMES = {"skip_threshold": "skip_cutoff"}
HIRES_FIELDS = ("backbone", "skip")
HIRES_STAGES, HIRES_SCHEDULE = "FreeU Hires Stages", "FreeU Hires Schedule"
SCHEDULE = ("start", "stop", "smoothness", "start_in_steps", "stop_in_steps")


def encode_stages(settings: Any) -> str:
    """Return the JSON list of the stages: fields that differ from their defaults, without empty stages at the end."""
    defaults = {name: default for name, _, default, *_ in STAGE_FIELDS}
    return _written([_difference({n: getattr(settings, f"stage{stage}_{n}") for n in defaults}, defaults) for stage in STAGES])


def encode_hires_stages(settings: Any) -> str | None:
    """Return the same for the hires pass: fields that differ from the first pass'."""
    differences = []
    for stage in STAGES:
        base = {name: getattr(settings, f"stage{stage}_{name}") for name in HIRES_FIELDS}
        own = {name: getattr(settings, f"hires_stage{stage}_{name}") for name in HIRES_FIELDS}
        differences.append(_difference({n: base[n] if value is None else value for n, value in own.items()}, base))
    return _written(differences) if any(differences) else None


def _difference(values: dict[str, float], usual: dict[str, float]) -> dict[str, Any]:
    known = {name: key for name, key, *_ in STAGE_FIELDS}
    return {known[name]: plain(value) for name, value in values.items() if value != usual[name]}


def _written(stages: list[dict[str, Any]]) -> str:
    while stages and not stages[-1]:
        stages.pop()
    return json.dumps(stages)


def decode_stages(text: str) -> dict[str, Any]:
    """Return the values of the stages from the JSON list; missing fields have their defaults.

    :raises SettingError: if it isn't such a list
    """
    return _decode_stages("FreeU Stages", text, "", {known: name for name, known, *_ in STAGE_FIELDS})


def decode_hires_stages(text: str) -> dict[str, Any]:
    """Return the same for the hires pass; missing fields have the first pass' values."""
    names = {known: name for name, known, *_ in STAGE_FIELDS if name in HIRES_FIELDS}
    return _decode_stages(HIRES_STAGES, text, "hires_", names)


def _decode_stages(key: str, text: str, prefix: str, names: dict[str, str]) -> dict[str, Any]:
    allowed = "a list of up to 3 stages, each with any of " + ", ".join(names)
    try:
        stages = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingError(key, text, allowed) from None
    if not isinstance(stages, list) or len(stages) > len(STAGES) or not all(isinstance(s, dict) for s in stages):
        raise SettingError(key, text, allowed)
    values: dict[str, Any] = {f"{prefix}preset": CUSTOM}
    for number_, stage in enumerate(stages, start=1):
        for said, value in stage.items():
            name = names.get(OLD_STAGE_NAMES.get(said, said))
            if name is None:
                raise SettingError(key, said, allowed)
            values[f"{prefix}stage{number_}_{name}"] = value
    return values


def encode_schedule(settings: Any) -> str:
    """Return ``start, stop, smoothness``; whole numbers are steps, others fractions."""
    return _schedule_text({name: getattr(settings, name) for name in SCHEDULE})


def encode_hires_schedule(settings: Any) -> str | None:
    """Return the same for the hires pass, if it differs."""
    base = {name: getattr(settings, name) for name in SCHEDULE}
    own = {name: getattr(settings, f"hires_{name}") for name in SCHEDULE}
    values = {name: base[name] if value is None else value for name, value in own.items()}
    return None if values == base else _schedule_text(values)


def _schedule_text(values: dict[str, Any]) -> str:
    ends = (int(values[end]) if values[f"{end}_in_steps"] else float(values[end]) for end in ("start", "stop"))
    return ", ".join(str(part) for part in (*ends, float(values["smoothness"])))


def decode_schedule(text: str) -> dict[str, Any]:
    """Return start, stop and smoothness from the text.

    :raises SettingError: if it isn't three numbers
    """
    return _decode_schedule("FreeU Schedule", text)


def schedule_note(text: str) -> str | None:
    """Return a note on a schedule that ends before its second step, as it seems to mean the end; ``None`` for others."""
    try:
        values = decode_schedule(text)
    except SettingError:
        return None
    if not values["stop_in_steps"] or values["stop"] > 1:
        return None
    stop = plain(values["stop"])
    return f"FreeU Schedule: {text}: the stop {stop} is a whole number and therefore means step {stop}; 1.0 means the end"


def decode_hires_schedule(text: str) -> dict[str, Any]:
    """Return the same for the hires pass."""
    return {f"hires_{name}": value for name, value in _decode_schedule(HIRES_SCHEDULE, text).items()}


def _decode_schedule(key: str, text: str) -> dict[str, Any]:
    allowed = "start, stop and smoothness, three numbers; start and stop are shares (0.0, 1.0) or steps (0, 20)"
    try:
        parts = [json.loads(part) for part in text.split(",")]
        start, stop, smoothness = (None if isinstance(part, bool) else float(part) for part in parts)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise SettingError(key, text, allowed) from None
    if None in (start, stop, smoothness):
        raise SettingError(key, text, allowed)
    steps = {"start_in_steps": isinstance(parts[0], int), "stop_in_steps": isinstance(parts[1], int)}
    return {"start": start, "stop": stop, "smoothness": smoothness, **steps}
