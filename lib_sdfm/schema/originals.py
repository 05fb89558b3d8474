"""The originals' features and payload layouts: facts about the extensions that SDFM replaces.

A payload is converted to the generation parameters that the original would have written for it, so that old payloads and
old generation parameters are read in one place.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SettingError
from .params import LARGEST_NUMBER

FEATURES = (
    ("FreeU Stages", "FreeU"),
    ("Dynamic thresholding enabled", "dynamic thresholding"),
    ("SEG Active", "smoothed energy guidance"),
    ("SCFG Active", "S-CFG"),
    ("PAG Active", "perturbed-attention guidance"),
    ("CFG Interval Enable", "the CFG schedule"),
    ("T2I-0 Active", "T2I-Zero"),
    ("INCANT Active", "Seek for Incantations"),
)
"""Key that each feature of the originals writes if it is on, and its name."""

Pair = tuple[str | None, Any]
"""Key (``None`` if unused here) and the panel default of one argument."""

SEG: tuple[Pair, ...] = (("SEG Active", False), ("SEG Blur Sigma", 11.0), ("SEG Start Step", 0), ("SEG End Step", 150))
SCFG: tuple[Pair, ...] = (("SCFG Active", False), *((None, None),) * 7)
PAG_SCALE: tuple[Pair, ...] = (("PAG Active", False), ("PAG Scale", 0.0))
PAG_WINDOW: tuple[Pair, ...] = (*PAG_SCALE, ("PAG Start Step", 0), ("PAG End Step", 150))
SCHEDULE: tuple[Pair, ...] = (
    ("CFG Interval Enable", False),
    ("CFG Interval Schedule", "Constant"),
    ("CFG Interval Low", 0.0),
    ("CFG Interval High", 100.0),
)
SANF: tuple[Pair, ...] = (("PAG SANF", False),)
T2I_ZERO: tuple[Pair, ...] = (("T2I-0 Active", False), *((None, None),) * 9)
SEEK: tuple[Pair, ...] = (("INCANT Active", False), *((None, None),) * 6)

INCANTATIONS = {
    "V1": (*PAG_SCALE, *T2I_ZERO[:9], *SEEK),
    "V2": (*PAG_WINDOW, *SCHEDULE, *T2I_ZERO, *SEEK),
    "V3": (*SCFG, *PAG_WINDOW, *SCHEDULE, *T2I_ZERO, *SEEK),
    "V4": (*SCFG, *PAG_WINDOW, *SCHEDULE, *SANF, *T2I_ZERO, *SEEK),
    "V5": (*SEG, *SCFG, *PAG_WINDOW, *SCHEDULE, *SANF, *T2I_ZERO, *SEEK),
}
"""Arguments of incantations' script by layout, oldest (18) to newest (38)."""


def is_missing(arg: Any) -> bool:
    """Return True if an argument is the value of a hidden control, used where a payload has no value."""
    return arg is None or arg == ""


def incantations_layout(args: Sequence[Any]) -> str:
    """Return the layout of a list, detected by its types (the API pads it, so its length is no help)."""

    def is_bool(place: int) -> bool:
        return place < len(args) and isinstance(args[place], bool)

    if is_bool(2):
        return "V1"
    if is_bool(4):
        return "V2" if len(args) > 5 and isinstance(args[5], str) and not is_missing(args[5]) else "V5"
    if len(args) <= 4 or is_missing(args[4]):
        return "V5"
    given = len(args) > 18 and not is_missing(args[18])
    return "V3" if given and not is_bool(18) else "V4"


def incantations_pairs(args: Sequence[Any]) -> dict[str, Any]:
    """Return the generation parameters of the features that a payload of incantations switches on.

    :raises SettingError: if the first argument is a dictionary
    """
    _require_list("Incantations", args, INCANTATIONS["V5"])
    pairs = _zip_layout(INCANTATIONS[incantations_layout(args)], args)
    switches = [key for key in pairs if key.endswith((" Active", " Enable")) and pairs[key] not in (False, None)]
    families = tuple(switch.rpartition(" ")[0] + " " for switch in switches)
    return {key: value for key, value in pairs.items() if key.startswith(families)}


def _require_list(title: str, args: Sequence[Any], layout: Sequence[Pair]) -> None:
    """Raise :class:`SettingError`, with the order of the arguments, if they are a dictionary instead of a list."""
    if args and isinstance(args[0], Mapping):
        order = f"a list of values in this order: {_order(layout)}"
        raise SettingError(f"{title}: args[0]", args[0], f"true or false, because the arguments are {order}")


def _order(layout: Sequence[Pair]) -> str:
    """Return the names of a layout's arguments; those of a feature without its switch are counted."""
    names = [(key or "", len(list(same))) for key, same in itertools.groupby(key for key, _ in layout)]
    return ", ".join(key or f"{count} more of it" for key, count in names)


def _zip_layout(layout: Sequence[Pair], args: Sequence[Any]) -> dict[str, Any]:
    pairs = {}
    for place, (key, default) in enumerate(layout):
        if key is not None:
            pairs[key] = default if _missing(args, place) else args[place]
    return pairs


def _missing(args: Sequence[Any], place: int) -> bool:
    return place >= len(args) or is_missing(args[place])


THRESHOLDING: tuple[Pair, ...] = (
    ("Dynamic thresholding enabled", False),
    ("Mimic scale", 7.0),
    ("Threshold percentile", 100.0),
    ("Mimic mode", "Constant"),
    ("Mimic scale minimum", 0.0),
    ("CFG mode", "Constant"),
    ("CFG scale minimum", 0.0),
    ("Scheduler value", 4.0),
    ("Separate Feature Channels", True),
    ("Scaling Startpoint", "MEAN"),
    ("Variability Measure", "AD"),
    ("Interpolate Phi", 1.0),
)
"""Arguments of dynamic thresholding; older lists (7, 8) are prefixes of it."""


def thresholding_pairs(args: Sequence[Any]) -> dict[str, Any]:
    """Return the generation parameters of a payload of dynamic thresholding.

    :raises SettingError: if the first argument is a dictionary
    """
    _require_list("Dynamic Thresholding (CFG Scale Fix)", args, THRESHOLDING)
    pairs = _zip_layout(THRESHOLDING, args)
    return pairs if pairs["Dynamic thresholding enabled"] is not False else {}


FREEU_STAGE = ("backbone_factor", "skip_factor", "backbone_offset", "backbone_width", "skip_cutoff", "skip_high_end_factor")
FREEU_NEUTRAL = (1.0, 1.0, 0.0, 0.5, 0.0, 1.0)
FREEU_PANEL = ((1.2, 0.9, 0.0, 0.5, 0.0, 1.0), (1.4, 0.2, 0.0, 0.5, 0.0, 1.0), FREEU_NEUTRAL)
"""The panel's first preset, SD1.4."""
FREEU_FIRST_SIZE, FREEU_UNVERSIONED_SIZE = 19, 22
"""Lengths of the lists of 2023-09-23 (no schedule) and 2023-09-25 (no version)."""
FREEU_SCHEDULE = ((1, 0.0), (2, 1.0), (3, 0.0))
"""Positions of start, stop and smoothness, and the panel's defaults."""
FREEU_VERSIONS = {"1": "1", "2": "2", "Version 1": "1", "Version 2": "2"}


def freeu_pairs(args: Sequence[Any]) -> dict[str, Any]:
    """Return the generation parameters of a payload of FreeU, a dictionary or one of the three lists.

    :raises SettingError: if the first argument is neither a dictionary nor true or false
    """
    if isinstance(args[0], Mapping):
        return _freeu_dictionary_pairs(args[0])
    if not isinstance(args[0], bool):
        raise SettingError("FreeU: args[0]", args[0], "true, false or a dictionary")
    if not args[0]:
        return {}
    given = sum(not is_missing(arg) for arg in args)
    versioned = len(args) > 4 and isinstance(args[4], str) and not _missing(args, 4)
    if given == FREEU_FIRST_SIZE and not versioned:
        schedule, version, stages = (0.0, 1.0, 0.0), "1", args[1:]
    else:
        unversioned = given == FREEU_UNVERSIONED_SIZE and not versioned
        schedule = tuple(_number(f"FreeU: args[{i}]", d if _missing(args, i) else args[i]) for i, d in FREEU_SCHEDULE)
        version = "1" if unversioned else _freeu_version(args[4] if versioned else "Version 2")
        stages = args[4 if unversioned else 5 :]
    size = len(FREEU_STAGE)
    values = [stages[i] if not _missing(stages, i) else FREEU_PANEL[i // size][i % size] for i in range(3 * size)]
    infos = [dict(zip(FREEU_STAGE, values[i : i + size])) for i in range(0, 3 * size, size)]
    return _freeu_written(infos, schedule, version)


def freeu_notes(args: Sequence[Any]) -> list[str]:
    """Return what in a payload of FreeU means something else than it seems, as in the original."""
    said = args[0] if args and isinstance(args[0], Mapping) else {}
    ends = {name: said.get(name) for name in ("start_ratio", "stop_ratio")}
    notes = [
        f"{name} {value} is a whole number and means step {value}, as in the old extension; write {value}.0 for a share"
        for name, value in ends.items()
        if isinstance(value, int) and not isinstance(value, bool) and value > 0
    ]
    version = said.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version != 1:
        notes.append(f'version {version} as a number means version 1, as in the old extension; write "{version}"')
    return notes if said.get("enable", True) else []


def _freeu_dictionary_pairs(said: Mapping[str, Any]) -> dict[str, Any]:
    known = {"enable", "start_ratio", "stop_ratio", "transition_smoothness", "version", "stage_infos"}
    for name in said:
        if name not in known:
            raise SettingError(f"FreeU: {name}", said[name], "one of " + ", ".join(sorted(known)))
    if not said.get("enable", True):
        return {}
    schedule = (said.get("start_ratio", 0.0), said.get("stop_ratio", 1.0), said.get("transition_smoothness", 0.0))
    infos = said.get("stage_infos", [])
    if not isinstance(infos, list):
        raise SettingError("FreeU: stage_infos", infos, "a list of stages")
    return _freeu_written(_freeu_stages(infos), schedule, _freeu_version(said.get("version", "1")))


def _freeu_stages(infos: list[Any]) -> list[Any]:
    """Return stages as dictionaries; in a flat list of numbers each six are the fields of a stage."""
    stages, place = [], 0
    while place < len(infos) and len(stages) < len(FREEU_PANEL):
        if isinstance(infos[place], Mapping):
            stages.append(dict(infos[place]))
            place += 1
        else:
            stages.append(dict(zip(FREEU_STAGE, infos[place : place + len(FREEU_STAGE)])))
            place += len(FREEU_STAGE)
    return stages


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST_NUMBER:
        raise SettingError(name, value, "a number")
    return float(value)


def _freeu_version(version: Any) -> str:
    """Return FreeU's version; the original treated any other value, the number 2 too, as version 1."""
    return FREEU_VERSIONS.get(version, "1") if isinstance(version, str) else "1"


def _freeu_written(stages: list[Any], schedule: tuple[Any, Any, Any], version: str) -> dict[str, Any]:
    neutral = dict(zip(FREEU_STAGE, FREEU_NEUTRAL))
    differing = [{name: value for name, value in stage.items() if neutral.get(name) != value} for stage in stages]
    while differing and not differing[-1]:
        differing.pop()
    texts = {"FreeU Stages": json.dumps(differing), "FreeU Schedule": ", ".join(str(part) for part in schedule)}
    return {**texts, "FreeU Version": version}


@dataclass(frozen=True)
class OldEntry:
    """A script title under which old payloads are accepted.

    :param title: the original's title
    :param size: length of its longest argument list
    :param pairs: converts arguments to the generation parameters that the original would have written
    :param notes: returns what in arguments means something else than it seems
    """

    title: str
    size: int
    pairs: Callable[[Sequence[Any]], dict[str, Any]]
    notes: Callable[[Sequence[Any]], list[str]] = lambda args: []


OLD_ENTRIES = (
    OldEntry("Incantations", len(INCANTATIONS["V5"]), incantations_pairs),
    OldEntry("FreeU", 5 + 3 * len(FREEU_STAGE), freeu_pairs, freeu_notes),
    OldEntry("Dynamic Thresholding (CFG Scale Fix)", len(THRESHOLDING), thresholding_pairs),
)


def unbuilt_features(pairs: Mapping[str, Any], known: set[str]) -> list[tuple[str, str]]:
    """Return key and name of the originals' features that are switched on and supported by no technique."""
    found = [(key, name) for key, name in FEATURES if key in pairs and key not in known]
    return [(key, name) for key, name in found if str(pairs[key]) not in ("False", "false")]


def unbuilt_keys(pairs: Mapping[str, Any], known: set[str]) -> set[str]:
    """Return the keys of the originals' features that no technique supports, switched on or off, with their settings."""
    families = tuple(key.rpartition(" ")[0] + " " for key, _ in FEATURES if key in pairs and key not in known)
    return {key for key in pairs if key.startswith(families) and key not in known} if families else set()
