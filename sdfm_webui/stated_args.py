"""A job's settings as one dictionary among its script arguments: complete, and independent of their positions.

Extensions that share a job between machines send its arguments to another WebUI, which cuts a list to the length that it
knows. What is only known here would not reach it: presets, and axes of the X/Y/Z plot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib_sdfm.errors import UserError
from lib_sdfm.schema.axes import apply_axes
from lib_sdfm.schema.fields import NOTES_POSITION, REQUEST_POSITION
from lib_sdfm.schema.originals import OldEntry, is_missing
from lib_sdfm.schema.payload import resolve_values
from lib_sdfm.schema.request import OWN_VERSION, VERSION, request_for
from lib_sdfm.schema.settings import Schema
from lib_sdfm.schema.shapes import TITLE

from .axes import axes_of_job

Payloads = Sequence[tuple[OldEntry, Sequence[Any]]]


def state_settings(schema: Schema, p: Any, old_payloads: Callable[[Any], Payloads]) -> None:
    """Put the settings of a job that uses SDFM into its script arguments as one dictionary.

    The job gets a new list, since other jobs may share its old one. Invalid settings stay as they are, for the job to
    report. So do jobs with payloads for the originals' titles, which keep their titles on other machines.

    :param old_payloads: returns a processing object's arguments for the originals' titles
    """
    script = next((s for s in getattr(getattr(p, "scripts", None), "alwayson_scripts", ()) if s.title() == TITLE), None)
    if script is None or any(not is_missing(arg) for _, args in old_payloads(p) for arg in args):
        return
    own = slice(script.args_from, script.args_to)
    args = [*p.script_args]
    try:
        args[own] = stated_args(schema, args[own], axes_of_job(p), bool(getattr(p, "is_api", False)))
    except UserError:
        return
    p.script_args = type(p.script_args)(args)


def stated_args(schema: Schema, args: Sequence[Any], axes: Mapping[str, Any], is_api: bool) -> list[Any]:
    """Return a job's own arguments, as many as before: one dictionary with all its settings, and defaults elsewhere.

    If nothing is on they are returned as they are. Notes on pasted parameters are kept for the API only: the panel showed
    them on paste, and another WebUI would take them for errors of the job.

    :param args: the arguments of our title
    :param axes: values of the X/Y/Z plot, by field id
    :raises UserError: for invalid settings
    """
    settings = schema.settings(apply_axes(schema, resolve_values(schema, args), axes))
    notes = args[NOTES_POSITION] if len(args) > NOTES_POSITION else ""
    stated = [*args]
    if settings.techniques or settings.by_default:
        defaults = {field.position: field.param.default for field in schema.fields}
        stated = [defaults.get(place, "") for place in range(len(args))]
        stated[REQUEST_POSITION] = {VERSION: OWN_VERSION, **request_for(schema, settings)}
    if not is_missing(notes):
        stated[NOTES_POSITION] = notes if is_api else ""
    return stated
