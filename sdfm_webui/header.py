"""The panel's title: active techniques, their cost and what is wrong; and the notes that say more about it."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lib_sdfm.errors import SettingError, UserError
from lib_sdfm.planning.advice import advice_on
from lib_sdfm.planning.effect import UNKNOWN, JobFacts
from lib_sdfm.planning.explain import cost_in_words, idle_features
from lib_sdfm.sampling.stages import SDFM
from lib_sdfm.schema.payload import read_notes
from lib_sdfm.schema.settings import Schema, Settings

from .run_course import facts_of_panel

PANEL_TITLE = "SDFM"
SIGN = "\N{WARNING SIGN}"
DOT = " \N{MIDDLE DOT} "


@dataclass(frozen=True)
class Header:
    """The panel's title and notes.

    :param title: the panel's title
    :param notes: whole sentences about what has no effect or is wrong
    """

    title: str
    notes: Sequence[str] = ()


def header_of(
    schema: Schema,
    args: Sequence[Any],
    host: Mapping[str, Any] = MappingProxyType({}),
    model: str = "",
    course: Callable[..., Any] | None = None,
) -> Header:
    """Return title and notes for the panel's arguments.

    :param host: values of the host's controls by name, as far as they are known
    :param model: the model kind that counts for the loaded checkpoint, empty for an ordinary one
    :param course: computes the course of the run for schema, settings and host, if it can be known
    """
    values = schema.from_positional(args)
    try:
        job = facts_of_panel(host) if host else UNKNOWN
        if schema.guides(values):
            settings = schema.settings(values)
            cost = cost_in_words(schema, settings, job) if course is None else course(schema, settings, host).cost.words
            parts, notes = _on(schema, settings, job, cost)
            advice = advice_on(settings, job.sampler, host.get("cfg_scale"))
        else:
            parts, notes, advice = [_off(schema, values)], [], []
    except UserError as error:
        what = error.setting if isinstance(error, SettingError) else str(error)
        return Header(_title([f"{SIGN} {what}", model, unread(args)]), [str(error)])
    marks = [f"{SIGN} {one.mark}" for one in advice]
    return Header(_title([*parts, model, *marks, unread(args)]), [*notes, *(one.text for one in advice)])


def notes_html(notes: Sequence[str]) -> str:
    """Return notes as HTML, empty if there are none."""
    lines = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f'<div class="sdfm-note">{lines}</div>' if lines else ""


def _title(parts: Sequence[str]) -> str:
    text = DOT.join(part for part in parts if part)
    return f"{PANEL_TITLE}: {text}" if text else PANEL_TITLE


def _off(schema: Schema, values: Mapping[str, Any]) -> str:
    kept = [t.label for t in schema.techniques if t.is_guidance and values[f"{t.name}.enabled"]]
    return f"off ({', '.join(kept)})" if kept else "off"


def _on(schema: Schema, settings: Settings, job: JobFacts, cost: str) -> tuple[list[str], list[str]]:
    """Return the title's parts, and notes on what has no effect."""
    idle = {feature.name: f"{feature.label} has no effect: {why}." for feature, why in idle_features(schema, settings, job)}
    guidance = [f for f in schema.chosen(settings) if f.is_guidance]
    labels = ", ".join([f.label + (" (no effect)" if f.name in idle else "") for f in guidance])
    old = "" if settings.recipe == SDFM or not labels else "as the old extensions"
    return [f"{labels}, {cost}" if labels else "", old], list(idle.values())


def unread(args: Sequence[Any]) -> str:
    """Return how many values of the last pasted parameters were not read, and notes on others, in words; empty if none."""
    try:
        errors, warnings = read_notes(args)
    except UserError:
        return ""
    found = [f"{_number(errors, 'value')} not read"] if errors else []
    found += [f"{_number(warnings, 'note')} on the pasted text"] if warnings else []
    return f"{SIGN} {', '.join(found)}" if found else ""


def _number(of: Sequence[Any], name: str) -> str:
    return f"{len(of)} {name}{'' if len(of) == 1 else 's'}"
