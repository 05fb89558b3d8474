"""X/Y/Z plot: one axis per setting, under our name and under the original's label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..sampling.stages import ORIGINAL
from .fields import HIRES_GROUP, Field
from .params import Param, plain
from .settings import Schema, Values

ALL_OLD = "all axes are old"
"""Key among a cell's values by field id: true if all its axes are those of the originals."""
OLD_SWITCHES = {"0": "False", "1": "True", "true": "True", "false": "False"}
LONGEST_VALUE, VALUE_END = 40, 12
"""Characters of a value in a grid's legend, and how many of them are its end if it is longer."""
TYPES = {"number": float, "integer": int, "boolean": str, "choice": str, "text": str}


@dataclass(frozen=True)
class Axis:
    """One axis of the plot.

    :param label: label in the menu
    :param field: the field that it sets
    :param type: conversion of each typed value
    :param choices: values that the plot offers to fill in
    :param old: true if it emulates an axis of an original
    """

    label: str
    field: Field
    type: Callable[[str], Any]
    choices: tuple[str, ...]
    old: bool = False

    @property
    def rare(self) -> bool:
        """True if the plot lists it on request alone: values of the hires pass, and of single stages."""
        technique = self.field.technique
        return self.field.group == HIRES_GROUP or self.field.param.rare or (technique is not None and technique.rare)

    def legend(self, typed: Any) -> str:
        """Return the text beside a grid's row or column, without the prefix of the list, and as short as it can be told from
        others; the plot wraps it at its spaces.
        """
        param, technique = self.field.param, self.field.technique
        if self.old or technique is None:
            return f"{self.label if self.old else param.label}: {_short(typed)}"
        if param.kind == "boolean":
            typed = {"True": "on", "False": "off"}.get(str(typed), typed)
        return f"{technique.label if self.field.role == 'switch' else param.label}: {_short(typed)}"

    def values(self, typed: Any) -> Values:
        """Return what one typed value sets, by field id.

        :raises SettingError: if it isn't allowed
        """
        param = self.field.param
        if self.old and param.axis_off is not None and typed == param.axis_off:
            return {f"{self.field.technique.name}.enabled": False}
        if self.old and isinstance(typed, str):
            typed = (OLD_SWITCHES if param.kind == "boolean" else dict(param.axis_values)).get(typed, typed)
        return {self.field.id: param.parse(typed) if isinstance(typed, str) else param.check(typed)}


def axes_of(schema: Schema) -> list[Axis]:
    """Return all axes: ours, then those under the labels of the originals; rare ones behind all others, in the same order, so
    that the places of the others don't depend on whether those are listed.
    """
    ours = [_axis(f"[SDFM] {field.param.label}", field) for field in schema.fields if field.role != "hires"]
    theirs = [_axis(field.param.axis, field, old=True) for field in schema.fields if field.param.axis]
    return sorted(ours + theirs, key=lambda axis: axis.rare)


def _axis(label: str, field: Field, old: bool = False) -> Axis:
    names = tuple(name for name, _ in field.param.axis_values) if old else ()
    return Axis(label, field, TYPES[field.param.kind], names or _choices(field.param), old)


def _short(value: Any) -> str:
    """Return a value as text of at most :data:`LONGEST_VALUE` characters, with spaces after its commas to be wrapped at."""
    text = str(plain(round(value, 8)) if isinstance(value, float) else value)
    text = " ".join(text.replace(",", ", ").split())
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - VALUE_END - 1]}…{text[-VALUE_END:]}"


def _choices(param: Param) -> tuple[str, ...]:
    return ("True", "False") if param.kind == "boolean" else param.choices


def apply_axes(schema: Schema, values: Values, axes: Mapping[str, Any]) -> Values:
    """Return ``values`` with those of the axes; an axis of a technique's setting turns the technique on unless another
    axis says otherwise. Where nothing else is on, axes of the originals mean recipe original.

    :param axes: values by field id, and :data:`ALL_OLD`
    """
    merged, axes = dict(values), dict(axes)
    nothing_else = not any(values[f"{t.name}.enabled"] for t in schema.techniques if not t.on_by_default)
    if axes.pop(ALL_OLD, False) and nothing_else:
        merged["recipe"] = ORIGINAL
    for id, value in axes.items():
        field = schema.by_id[id]
        if field.role == "setting":
            merged[f"{field.technique.name}.enabled"] = True
            schema.name_value(merged, id, value)
    return {**merged, **axes}
