"""The difference between two sets of values, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .feature import Feature
from .fields import RECIPE, Field
from .params import plain
from .settings import Schema


def changes(schema: Schema, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs, one line for each technique: what is switched on, with values off their defaults, or off, or set.

    :param before: values by field id; they need not be valid
    :param after: likewise
    """
    calculation, names = RECIPE.shown_as or (RECIPE.label, {})
    recipe = after["recipe"]
    lines = [] if before["recipe"] == recipe else [f"{calculation}: {names.get(recipe, recipe)}"]
    was, now = schema.shown(before), schema.shown(after)
    return lines + [line for technique in schema.techniques if (line := _of(schema, technique, was, now))]


def _of(schema: Schema, technique: type[Feature], was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the line about one technique, empty if nothing that counts differs."""
    switch = f"{technique.name}.enabled"
    hires = f"{technique.name}.hires"
    fields = [f for f in schema.in_panel_order(technique) if f.role == "setting"]
    if not (was.get(hires) or now.get(hires)):  # they follow the first pass
        fields = [f for f in fields if not f.param.optional]
    if not now[switch]:
        return f"{technique.label} off" if was[switch] else ""
    if not was[switch]:
        own = [f"{f.param.label} {_shown(now[f.id])}" for f in fields if _differs(now[f.id], f.control_default)]
        return f"{technique.label} on" + (f": {', '.join(own)}" if own else "")
    return ", ".join(_moved(f, was[f.id], now[f.id]) for f in fields if _differs(was[f.id], now[f.id]))


def _moved(field: Field, was: Any, now: Any) -> str:
    return f"{field.param.label} {moved(was, now)}"


def moved(was: Any, now: Any) -> str:
    """Return a change of a value: both, with an arrow between them."""
    return f"{_shown(was)} \N{RIGHTWARDS ARROW} {_shown(now)}"


def _differs(one: Any, other: Any) -> bool:
    return plain(one) != plain(other)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "(empty)" if value in ("", None) else str(plain(value))
