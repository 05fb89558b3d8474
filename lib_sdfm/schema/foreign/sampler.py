"""Other programs' sampler names in generation parameters; for an unknown name the hosts silently use their first sampler."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ...sampling.sampler_names import AUTOMATIC, SCHEDULES, nearest_name, normalised, resolve_sampler, schedule_named
from ..host_names import HostNames
from .windows import has_hires_pass

ALTERED = re.compile(r"(_dynthres\d+)+$")
SAMPLER, SCHEDULE = "Sampler", "Schedule type"
HIRES_SAMPLER, HIRES_SCHEDULE = "Hires sampler", "Hires schedule type"
SAME_SAMPLER, SAME_SCHEDULE = "Use same sampler", "Use same scheduler"
KEYS = {SAMPLER: SCHEDULE, HIRES_SAMPLER: HIRES_SCHEDULE}
"""The hosts' keys for a pass' sampler and its schedule."""
COMFY_SCHEDULE = "Scheduler"
"""Key under which image savers of ComfyUI write the schedule."""
LABELS = frozenset(SCHEDULES)


def true_sampler(name: str) -> str:
    """Return the true name of a sampler: dynamic thresholding wrote ``Euler a_dynthres1`` until May 2023."""
    return ALTERED.sub("", name)


def mended_samplers(pairs: Mapping[str, Any], known: Collection[str]) -> dict[str, str]:
    """Return the WebUI's names for names of samplers and schedules that it doesn't know, by key of the parameters.

    A schedule that is part of a sampler's name is returned under the schedule's key.

    :param pairs: the parsed generation parameters
    :param known: the sampler names that the WebUI looks up
    """
    mended: dict[str, str] = {}
    for key, schedule_key in KEYS.items():
        said = _said(pairs, key)
        name, glued = host_sampler(said, known) or (true_sampler(said), None)
        if said not in (name, f"{name} {glued}"):  # those the host reads itself
            mended[key] = name
        own = _said_schedule(pairs, schedule_key)
        schedule = glued if key in mended and glued is not None else schedule_named(own)
        if schedule is not None and schedule not in (own, pairs.get(schedule_key)) and (glued or own not in LABELS):
            mended[schedule_key] = schedule
        elif schedule_key == SCHEDULE and own != str(pairs.get(SCHEDULE, "")) and own in LABELS:
            mended[schedule_key] = own
    return mended


def unknown_samplers(pairs: Mapping[str, Any], host: HostNames) -> list[str]:
    """Return a line for each sampler and schedule of generation parameters that the WebUI lacks, with the nearest it has."""
    lines = []
    for key, schedule_key in KEYS.items():
        said = _said(pairs, key)
        if said and host_sampler(said, host.samplers) is None:
            lines.append(unknown_sampler(key, said, host.samplers))
        schedule = _said_schedule(pairs, schedule_key)
        if schedule and not host.has_schedule(schedule):
            lines.append(unknown_schedule(schedule_key, schedule))
    return lines


def unknown_sampler(key: str, said: str, known: Collection[str]) -> str:
    """Return the line for a sampler that the WebUI lacks.

    :param key: the key or field that names it
    """
    nearest = nearest_name(true_sampler(said), {shown_name(name, known) for name in known})
    instead = f"; the nearest is {nearest}" if nearest else ""
    return f"{key}: {said}: this WebUI has no such sampler and uses another one{instead}"


def unknown_schedule(key: str, said: str) -> str:
    """Return the line for a schedule that the WebUI lacks.

    :param key: the key or field that names it
    """
    return f"{key}: {said}: this WebUI has no such schedule and uses {AUTOMATIC}"


def _said_schedule(pairs: Mapping[str, Any], key: str) -> str:
    """Return the schedule under a key; image savers of ComfyUI have another key for it."""
    said = str(pairs.get(key, "")).strip()
    if key == SCHEDULE and said in ("", AUTOMATIC):
        said = str(pairs.get(COMFY_SCHEDULE, "")).strip() or said
    return "" if said == SAME_SCHEDULE else said


def pass_sampler(pairs: Mapping[str, Any], known: Collection[str]) -> tuple[str, str] | None:
    """Return sampler and schedule of the first pass by the WebUI's names; ``None`` if it has no such sampler."""
    found = host_sampler(_said(pairs, SAMPLER), known)
    if found is None:
        return None
    own = _said_schedule(pairs, SCHEDULE)
    return shown_name(found[0], known), found[1] or schedule_named(own) or own or AUTOMATIC


def hires_sampler(pairs: Mapping[str, Any], known: Collection[str]) -> tuple[str | None, str | None]:
    """Return sampler and schedule of the hires pass by the WebUI's names; nothing if there is no such pass.

    :param pairs: the parsed generation parameters
    :param known: the names that the WebUI looks up
    """
    if not has_hires_pass(pairs):
        return None, None
    said = _said(pairs, HIRES_SAMPLER) or _said(pairs, SAMPLER)
    name, schedule = host_sampler(said, known) or (None, None)
    own = _said_schedule(pairs, HIRES_SCHEDULE) or _said_schedule(pairs, SCHEDULE)
    return name, schedule or schedule_named(own) or own or None


def _said(pairs: Mapping[str, Any], key: str) -> str:
    """Return the name under a key; empty if it is missing, or the same as for the first pass."""
    said = str(pairs.get(key, "")).strip()
    return "" if said == SAME_SAMPLER else said


def shown_name(name: str, known: Collection[str]) -> str:
    """Return the name in the WebUI's list of a sampler that it also knows by other names.

    :param known: the names that the WebUI looks up; a mapping gives for each the one in the list, which may be the WebUI's own
        variant of a sampler that SDFM knows by one name (reForge: Euler Comfy)
    """
    if isinstance(known, Mapping) and name in known:
        return known[name]
    record = resolve_sampler(name).sampler
    return record.name if record is not None and record.name in known else name


def host_sampler(said: str, known: Collection[str]) -> tuple[str, str | None] | None:
    """Return the WebUI's name of a sampler, and the schedule in its name; ``None`` if the WebUI has no such sampler.

    :param said: the name in the generation parameters
    :param known: the names that the WebUI looks up
    """
    name = true_sampler(said)
    if name in known:
        return name, None
    if not name:
        return None
    resolved = resolve_sampler(name)
    if resolved.sampler is None:
        return _of_an_extension(normalised(name), known)
    others = (other for other in known if resolve_sampler(other).sampler is resolved.sampler)
    found = resolved.sampler.name if resolved.sampler.name in known else next(others, None)
    return None if found is None else (found, resolved.schedule)


def _of_an_extension(text: str, known: Collection[str]) -> tuple[str, str | None] | None:
    """Find a sampler known only to the WebUI, in another spelling or with a schedule after its name."""
    for other in known:
        base = normalised(other)
        schedule = schedule_named(text.removeprefix(base)) if text.startswith(f"{base} ") else None
        if text == base or schedule is not None:
            return other, schedule
    return None
