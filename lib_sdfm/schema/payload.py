"""Settings of one job: the panel's or the API's arguments, old payloads, and axes of the X/Y/Z plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import SettingError, UserError
from .axes import apply_axes
from .fields import NOTES_POSITION, REQUEST_POSITION
from .infotext import Reading, read_infotext
from .originals import OldEntry, is_missing
from .request import apply_request
from .settings import Schema, Settings, Values

NOTES = ("errors", "warnings")


@dataclass(frozen=True)
class Job:
    """Settings of a job.

    :param settings: validated settings
    :param warnings: unsupported features of pasted generation parameters, and what in old payloads means something else
        than it seems, in words
    """

    settings: Settings
    warnings: list[str] = field(default_factory=list)


def notes_of(reading: Reading) -> str:
    """Return the errors and warnings of pasted parameters, which a hidden control passes from the API's paste to the run."""
    if not reading.errors and not reading.warnings:
        return ""
    return json.dumps(dict(zip(NOTES, (reading.errors, reading.warnings))))


def resolve_job(
    schema: Schema,
    args: Sequence[Any],
    old_payloads: Sequence[tuple[OldEntry, Sequence[Any]]] = (),
    axes: Mapping[str, Any] | None = None,
    is_api: bool = True,
) -> Job:
    """Return the validated settings of a job.

    :param args: arguments of the title ``SDFM``: positional values, or a dictionary as the first one
    :param old_payloads: arguments of the originals' titles
    :param axes: values of the X/Y/Z plot, by field id
    :param is_api: true if notes on pasted parameters belong to this request (in the panel they were shown on paste)
    :raises UserError: for invalid settings
    """
    errors, warnings = read_notes(args) if is_api else ([], [])
    if errors:
        raise UserError("; ".join(errors))
    values = resolve_values(schema, args, old_payloads)
    settings = schema.settings(apply_axes(schema, values, axes or {}))
    return Job(settings, warnings + old_notes(old_payloads))


def old_notes(old_payloads: Sequence[tuple[OldEntry, Sequence[Any]]]) -> list[str]:
    """Return what in old payloads means something else than it seems, in words."""
    return [f"{entry.title}: {note}" for entry, args in old_payloads for note in entry.notes(args)]


def read_notes(args: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Return the errors and warnings written by :func:`notes_of`.

    :raises SettingError: if their position holds anything else
    """
    notes = args[NOTES_POSITION] if len(args) > NOTES_POSITION else ""
    if is_missing(notes):
        return [], []
    try:
        said = json.loads(notes)
        errors, warnings = ([str(line) for line in said[name] if isinstance(said[name], list)] for name in NOTES)
    except (TypeError, ValueError, KeyError, RecursionError):
        raise SettingError(f"args[{NOTES_POSITION}]", notes, "an empty text") from None
    return errors, warnings


def resolve_values(
    schema: Schema,
    args: Sequence[Any],
    old_payloads: Sequence[tuple[OldEntry, Sequence[Any]]] = (),
    base: Mapping[str, Any] | None = None,
) -> Values:
    """Return the values of the title's own arguments on top of ``base``, and of old payloads.

    :raises UserError: if the arguments are invalid; the values themselves are not checked
    """
    values = schema.from_positional(args, base)
    request = args[REQUEST_POSITION] if args else ""
    if not is_missing(request):
        if not isinstance(request, Mapping):
            raise SettingError(f"args[{REQUEST_POSITION}]", request, "a dictionary of settings, or an empty text")
        values = apply_request(schema, values, request)
    return _with_old_payloads(schema, values, old_payloads)


def require_no_rival(schema: Schema, settings: Settings, rivals: Sequence[tuple[OldEntry, Sequence[Any]]]) -> None:
    """Raise :class:`UserError` if an original that is also installed does the same in this job.

    :param rivals: the arguments of the installed originals themselves
    """
    for entry, args in rivals:
        asked = read_infotext(schema, entry.pairs(args)).values
        twice = [t.label for t in schema.techniques if t.name in settings.techniques and asked[f"{t.name}.enabled"]]
        if twice:
            what = ", ".join(twice)
            raise UserError(f"{what} is on in both SDFM and {entry.title}, which is also installed: turn off one of them")


def _with_old_payloads(schema: Schema, values: Values, payloads: Sequence[tuple[OldEntry, Sequence[Any]]]) -> Values:
    """Return values with those of old payloads; payloads of several titles are combined, as the originals were."""
    said = [(entry, args) for entry, args in payloads if not all(is_missing(arg) for arg in args)]
    pairs: dict[str, Any] = {}
    for entry, args in said:
        pairs.update(entry.pairs(args))
    reading = read_infotext(schema, pairs)
    titles = ", ".join(entry.title for entry, _ in said)
    problems = [f"{titles}: {problem}" for problem in reading.errors + reading.warnings]
    if problems:  # a payload says what it wants: what we lack is an error, not a warning
        raise UserError("; ".join(problems))
    switches = {t.name: f"{t.name}.enabled" for t in schema.techniques if not t.on_by_default}
    asked = [name for name, switch in switches.items() if reading.values[switch]]
    if asked and any(values[switch] for switch in switches.values()):
        raise SettingError(titles, ", ".join(asked), "either arguments of the old titles or those of SDFM, not both")
    return reading.values if asked else values
