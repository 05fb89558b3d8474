"""Other programs' sampler names in generation parameters; for an unknown name the hosts silently use their first sampler."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ...sampling.sampler_names import nearest_name, normalised, resolve_sampler, schedule_named
from .windows import has_hires_pass

ALTERED = re.compile(r"(_dynthres\d+)+$")
SAMPLER, SCHEDULE = "Sampler", "Schedule type"
HIRES_SAMPLER, HIRES_SCHEDULE = "Hires sampler", "Hires schedule type"
SAME_SAMPLER, SAME_SCHEDULE = "Use same sampler", "Use same scheduler"
KEYS = {SAMPLER: SCHEDULE, HIRES_SAMPLER: HIRES_SCHEDULE}
"""The hosts' keys for a pass' sampler and its schedule."""


def true_sampler(name: str) -> str:
    """Return the true name of a sampler: dynamic thresholding wrote ``Euler a_dynthres1`` until May 2023."""
    return ALTERED.sub("", name)


def mended_samplers(pairs: Mapping[str, Any], known: Collection[str]) -> dict[str, str]:
    """Return the WebUI's names for sampler names that it doesn't know, by key of the generation parameters.

    A schedule that is part of a sampler's name is returned under the schedule's key.

    :param pairs: the parsed generation parameters
    :param known: the names that the WebUI looks up
    """
    mended: dict[str, str] = {}
    for key, schedule_key in KEYS.items():
        said = _said(pairs, key)
        name, schedule = host_sampler(said, known) or (true_sampler(said), None)
        if said in (name, f"{name} {schedule}"):  # the host reads these itself
            continue
        mended[key] = name
        if schedule is not None:
            mended[schedule_key] = schedule
    return mended


def unknown_samplers(pairs: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """Return a line for each sampler of generation parameters that the WebUI lacks, with the nearest that it has."""
    lines = []
    for key in KEYS:
        said = _said(pairs, key)
        if said and host_sampler(said, known) is None:
            nearest = nearest_name(true_sampler(said), {_shown(name, known) for name in known})
            instead = f"; the nearest is {nearest}" if nearest else ""
            lines.append(f"{key}: {said}: this WebUI has no such sampler and takes another one{instead}")
    return lines


def hires_sampler(pairs: Mapping[str, Any], known: Collection[str]) -> tuple[str | None, str | None]:
    """Return sampler and schedule of the hires pass by the WebUI's names; nothing if there is no such pass.

    :param pairs: the parsed generation parameters
    :param known: the names that the WebUI looks up
    """
    if not has_hires_pass(pairs):
        return None, None
    said = _said(pairs, HIRES_SAMPLER) or _said(pairs, SAMPLER)
    name, schedule = host_sampler(said, known) or (None, None)
    own = pairs.get(HIRES_SCHEDULE, SAME_SCHEDULE)
    return name, schedule or (pairs.get(SCHEDULE) if own == SAME_SCHEDULE else own)


def _said(pairs: Mapping[str, Any], key: str) -> str:
    """Return the name under a key; empty if it is missing, or the same as for the first pass."""
    said = str(pairs.get(key, "")).strip()
    return "" if said == SAME_SAMPLER else said


def _shown(name: str, known: Collection[str]) -> str:
    """Return the name in the WebUI's list of a sampler that it also knows by other names."""
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
