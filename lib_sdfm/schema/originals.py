"""The originals' features and payload layouts: facts about the extensions that SDFM replaces.

A payload is turned into the generation parameters that the original would have written for it, so that old payloads and
old texts are read in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
"""Key by which each feature of the originals says that it is on, and its name."""

NOT_GIVEN = ("", None)
"""What the hidden controls hold where a payload has no value."""

Pair = tuple[str | None, Any]
"""Key (``None``: of no use to us) and the panel default of one argument."""

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


def incantations_layout(args: Sequence[Any]) -> str:
    """Which of the layouts a list has, told from its types (the API pads it, so that its length says nothing)."""

    def is_bool(place: int) -> bool:
        return place < len(args) and isinstance(args[place], bool)

    if is_bool(2):
        return "V1"
    if is_bool(4):
        return "V2" if len(args) > 5 and isinstance(args[5], str) and args[5] not in NOT_GIVEN else "V5"
    if len(args) <= 4 or args[4] in NOT_GIVEN:
        return "V5"
    given = len(args) > 18 and args[18] not in NOT_GIVEN
    return "V3" if given and not is_bool(18) else "V4"


def incantations_pairs(args: Sequence[Any]) -> dict[str, Any]:
    """The generation parameters of the features that a payload of incantations switches on."""
    pairs = _zip_layout(INCANTATIONS[incantations_layout(args)], args)
    families = (("SEG", "SEG Active"), ("PAG", "PAG Active"), ("CFG Interval", "CFG Interval Enable"), ("SCFG", "SCFG Active"))
    families += (("T2I-0", "T2I-0 Active"), ("INCANT", "INCANT Active"))
    kept: dict[str, Any] = {}
    for prefix, switch in families:
        if pairs.get(switch) not in (False, None):
            kept.update({key: value for key, value in pairs.items() if key.startswith(prefix + " ")})
    return kept


def _zip_layout(layout: Sequence[Pair], args: Sequence[Any]) -> dict[str, Any]:
    pairs = {}
    for place, (key, default) in enumerate(layout):
        value = args[place] if place < len(args) else None
        if key is not None:
            pairs[key] = default if value in NOT_GIVEN else value
    return pairs


@dataclass(frozen=True)
class OldEntry:
    """A script title under which old payloads are taken.

    :param title: the original's title
    :param size: length of its longest argument list
    :param pairs: turns arguments into the generation parameters that the original would have written
    """

    title: str
    size: int
    pairs: Callable[[Sequence[Any]], dict[str, Any]]


OLD_ENTRIES = (OldEntry("Incantations", len(INCANTATIONS["V5"]), incantations_pairs),)


def unbuilt_features(pairs: Mapping[str, Any], known: set[str]) -> list[tuple[str, str]]:
    """Key and name of the originals' features that a text switches on and no technique knows."""
    found = [(key, name) for key, name in FEATURES if key in pairs and key not in known]
    return [(key, name) for key, name in found if str(pairs[key]) not in ("False", "false")]
