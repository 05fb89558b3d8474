"""The flat list of controls: every setting of every technique under one id, with its position in the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..sampling.stages import ORIGINAL, RECIPES, SDFM
from .feature import Feature
from .params import Param, params_of

RECIPE = Param(
    "recipe", "choice", SDFM, label="Recipe", key="SDFM Recipe", choices=RECIPES,
    help="By the papers: the methods as published. As the old extensions: with their deviations, to reproduce old pictures.",
    shown_as=("Calculation", {SDFM: "By the papers", ORIGINAL: "As the old extensions"}),
)  # fmt: skip
REQUEST_POSITION, RECIPE_POSITION, NOTES_POSITION = 0, 1, 2
"""Positions in the API's positional list: of its dictionary, of the recipe, and of notes on pasted parameters."""
HIRES_GROUP = "Hires pass"
RESERVED = {REQUEST_POSITION: "request", NOTES_POSITION: "notes"}
"""The positions that hold no setting, and their names."""
DECLARED = ("name", "label", "title", "summary", "Settings", "active_key", "rank", "positions")
"""The class attributes that every technique must declare."""


@dataclass(frozen=True)
class Field:
    """One control.

    :param id: ``recipe``, or technique and setting: ``pag.scale``
    :param param: the declaration of its value
    :param technique: the technique that it belongs to
    :param position: position in the API's positional list
    :param role: ``recipe``, ``switch`` (technique on or off), ``setting``, or ``hires`` (separate hires values are used)
    """

    id: str
    param: Param
    technique: type[Feature] | None
    position: int
    role: str

    @property
    def group(self) -> str | None:
        """The accordion of the technique's panel that contains the control, ``None`` for the top level."""
        return HIRES_GROUP if self.role == "hires" or self.param.optional else self.param.group

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes in which it may differ from its default."""
        if self.technique is None or self.role == "switch":
            return RECIPES if self.technique is None else self.technique.recipes
        params = [p for p in params_of(self.technique.Settings) if p.optional] if self.role == "hires" else [self.param]
        return tuple(r for r in self.technique.recipes if any(r in p.recipes for p in params))

    @property
    def control_default(self) -> Any:
        """The control's initial value; a setting that follows another shows that one's default."""
        if self.role == "setting" and self.param.optional:
            return next(p.default for p in params_of(self.technique.Settings) if p.name == self.param.follows)
        return self.param.default


def fields_of(techniques: tuple[type[Feature], ...]) -> tuple[Field, ...]:
    """Return all fields, in the order of the panel.

    :raises TypeError: if a technique does not declare all that it must, or not one API position for each control
    """
    for technique in techniques:
        _require_declared(technique, techniques)
    free = next_free_position(position for technique in techniques for position in technique.positions)
    fields = [Field("recipe", RECIPE, None, RECIPE_POSITION, "recipe")]
    for technique in techniques:
        fields += _technique_fields(technique, free)
    return tuple(fields)


def next_free_position(taken: Iterable[int]) -> int:
    """Return the API position after all that are taken: the first one of a new technique or setting."""
    return max(*RESERVED, RECIPE_POSITION, *taken) + 1


def _require_declared(technique: type[Feature], techniques: tuple[type[Feature], ...]) -> None:
    missing = [name for name in DECLARED if not hasattr(technique, name)]
    if missing:
        positions = [position for other in techniques for position in getattr(other, "positions", ())]
        ranks = [other.rank for other in techniques if hasattr(other, "rank")]
        raise TypeError(
            f"{technique.__name__} does not declare {', '.join(missing)}; the next free API position is "
            f"{next_free_position(positions)}, the highest rank is {max(ranks, default=0)}"
        )


def _technique_fields(technique: type[Feature], free: int) -> list[Field]:
    """Return the fields of one technique.

    :param free: the next free API position, for the message
    """
    params = params_of(technique.Settings)
    named = [("enabled", _switch(technique), "switch"), *((p.name, p, "setting") for p in params)]
    if any(p.optional for p in params):
        named.append(("hires", _hires_switch(technique), "hires"))
    if len(named) != len(technique.positions):
        raise TypeError(
            f"{technique.name}: {len(named)} controls need {len(named)} API positions, {len(technique.positions)} given; "
            f"the next free one is {free}"
        )
    places = zip(named, technique.positions)
    return [Field(f"{technique.name}.{name}", p, technique, place, role) for (name, p, role), place in places]


def _switch(technique: type[Feature]) -> Param:
    return Param(
        "enabled", "boolean", technique.on_by_default, label=technique.title, key=technique.active_key, help=technique.summary,
        axis=technique.active_axis,
    )  # fmt: skip


def _hires_switch(technique: type[Feature]) -> Param:
    label = f"{technique.label}: separate values in the hires pass"
    return Param("hires", "boolean", False, label=label, key=label, help="Off: the hires pass uses the same values.")
