"""Reading of a text that is pasted, posted or explained: our settings, and what the host's own controls can't take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from .foreign.sampler import unknown_samplers
from .freeu_texts import schedule_note
from .grammar import line_note
from .host_names import HostNames
from .infotext import FORMAT_KEY, Reading, read_infotext
from .settings import Schema


def read_parameters(
    schema: Schema, pairs: Mapping[str, Any], claimed: Collection[str] = (), host: HostNames = HostNames()
) -> Reading:
    """Read parsed generation parameters, with warnings about the host's own controls. Never raises.

    :param pairs: the parsed parameters, with the prompts as the hosts give them
    :param claimed: keys that the host pastes itself
    :param host: the names that the host looks up
    """
    reading = read_infotext(schema, pairs, claimed)
    notes = [line_note(pairs)]
    if FORMAT_KEY not in pairs:  # there a person chose steps in a panel that says so
        notes.append(schedule_note(str(pairs.get("FreeU Schedule", ""))))
    said = [note for note in notes if note is not None]
    return replace(reading, warnings=[*reading.warnings, *unknown_samplers(pairs, host), *said])
