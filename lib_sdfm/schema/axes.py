"""X/Y/Z plot: one axis per setting, under our name and under the original's label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..sampling.stages import ORIGINAL
from .fields import Field
from .params import Param
from .settings import Schema, Values

ALL_OLD = "all axes are old"
"""Key among a cell's values by field id: true if all its axes are those of the originals."""
OLD_SWITCHES = {"0": "False", "1": "True", "true": "True", "false": "False"}
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
    """Return all axes: ours, then those under the labels of the originals."""
    ours = [_axis(f"[SDFM] {field.param.label}", field) for field in schema.fields if field.role != "hires"]
    theirs = [_axis(field.param.axis, field, old=True) for field in schema.fields if field.param.axis]
    return ours + theirs


def _axis(label: str, field: Field, old: bool = False) -> Axis:
    names = tuple(name for name, _ in field.param.axis_values) if old else ()
    return Axis(label, field, TYPES[field.param.kind], names or _choices(field.param), old)


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
