"""The axes in the host's X/Y/Z plot."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from lib_sdfm.schema.axes import ALL_OLD, Axis, axes_of
from lib_sdfm.schema.settings import Schema

from .errors import shown_to_user

ATTRIBUTE = "sdfm_axes"
"""Attribute of a cell's processing object: field ids and values."""
ALL_AXES = "sdfm_all_axes"
"""The host's option that lists rare axes as well."""
PLOT_MODULES = ("xyz_grid.py", "xy_grid.py")


def axes_of_job(p: Any) -> dict[str, Any]:
    """Return the values set by a cell of the plot, by field id."""
    return getattr(p, ATTRIBUTE, {})


def add_axes_option(opts: Any, option: type) -> None:
    """Add the option that lists all axes to the host's settings, on a page of our own.

    :param opts: the host's options
    :param option: the host's ``OptionInfo``
    """
    label = "X/Y/Z plot: list the axes of the hires pass and of FreeU's stages too"
    opts.add_option(ALL_AXES, option(False, label, section=("sdfm", "SDFM")).needs_reload_ui())


def register_axes(schema: Schema, scripts: Any, opts: Any, applied: Callable[[Any], None] = lambda p: None) -> None:
    """Add our axes to the plot, once per load of the host's scripts: those that are not rare, or all.

    :param scripts: the host's ``modules.scripts``
    :param opts: the host's options
    :param applied: called with a cell's processing object once an axis has set its value there
    """
    plot = _plot_module(scripts)
    if plot is None:
        return
    taken = {option.label for option in plot.axis_options}
    axes = [axis for axis in axes_of(schema) if getattr(opts, ALL_AXES, False) or not axis.rare]
    plot.axis_options.extend(_option(plot, axis, applied) for axis in axes if axis.label not in taken)


def _plot_module(scripts: Any) -> ModuleType | None:
    for data in scripts.scripts_data:
        if getattr(data.module, "__file__", None) and data.path.endswith(PLOT_MODULES):
            return data.module
    return None


def _option(plot: ModuleType, axis: Axis, applied: Callable[[Any], None]) -> Any:
    return plot.AxisOption(
        axis.label,
        axis.type,
        _applier(axis, applied),
        format_value=lambda p, option, value: axis.legend(value),
        confirm=_confirmer(axis),
        choices=(lambda: list(axis.choices)) if axis.choices else None,
    )


def _applier(axis: Axis, applied: Callable[[Any], None]) -> Callable[[Any, Any, list[Any]], None]:
    def apply(p: Any, value: Any, values: list[Any]) -> None:
        # a new dictionary: the plot copies p for each cell without its contents
        before = axes_of_job(p)
        setattr(p, ATTRIBUTE, {**before, **axis.values(value), ALL_OLD: axis.old and before.get(ALL_OLD, True)})
        applied(p)

    return apply


def _confirmer(axis: Axis) -> Callable[[Any, list[Any]], None]:
    def confirm(p: Any, values: list[Any]) -> None:
        for value in values:
            with shown_to_user():
                axis.values(value)

    return confirm
