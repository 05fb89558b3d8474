"""Sampler and schedule of a request, as the WebUI's API takes them: it wants exact names, and its fields win over a text's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..sampling.sampler_names import AUTOMATIC, schedule_named
from .foreign.sampler import hires_sampler, host_sampler, pass_sampler, shown_name, unknown_sampler, unknown_schedule
from .foreign.windows import has_hires_pass
from .host_names import HostNames

API_DEFAULT = "Euler"
"""Sampler of a request that names none."""


def samplers_of_request(
    body: Mapping[str, Any], pairs: Mapping[str, Any], host: HostNames
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the sampler and schedule that a request runs with, and a line for each name that the WebUI lacks.

    :param body: the request
    :param pairs: the parsed parameters of its ``infotext``
    :return: name and schedule by the WebUI's names, those of the hires pass under ``hires``; ``None`` if the sampler is unknown
    """
    notes = [
        unknown_sampler(name, said, host.samplers)
        for name, find in (("sampler_name", _exact), ("hr_sampler_name", _resolved))
        if (said := _text(body, name)) and find(said, host) is None
    ]
    schedules = {name: said for name in ("scheduler", "hr_scheduler") if (said := _text(body, name))}
    notes += [unknown_schedule(name, said) for name, said in schedules.items() if said not in host.schedules]
    first = _first_pass(body, pairs, host)
    if first is None:
        return None, notes
    found = {"name": first[0], "schedule": first[1]}
    return found | _hires_pass(body, pairs, first, host), notes


def _first_pass(body: Mapping[str, Any], pairs: Mapping[str, Any], host: HostNames) -> tuple[str, str] | None:
    """Return sampler and schedule of the first pass."""
    said, schedule = _text(body, "sampler_name"), _text(body, "scheduler")
    written = pass_sampler(pairs, host.samplers)
    found = _exact(said or API_DEFAULT, host) if said or not pairs else written
    if found is None:
        return None
    behind = (written[1] if written else AUTOMATIC) if pairs else found[1]
    return shown_name(found[0], host.samplers), _label(schedule, host) if schedule else behind or AUTOMATIC


def _hires_pass(
    body: Mapping[str, Any], pairs: Mapping[str, Any], first: tuple[str, str], host: HostNames
) -> dict[str, dict[str, str | None]]:
    """Return sampler and schedule of the hires pass, nothing if there is none."""
    if not body.get("enable_hr", has_hires_pass(pairs)):
        return {}
    said, schedule = _text(body, "hr_sampler_name"), _text(body, "hr_scheduler")
    written = hires_sampler(pairs, host.samplers)
    name, behind = (_resolved(said, host) or (None, None)) if said else (written[0] or first[0], None)
    label = behind or (_label(schedule, host) if schedule else written[1] or first[1])
    return {"hires": {"name": name and shown_name(name, host.samplers), "schedule": label}}


def _exact(said: str, host: HostNames) -> tuple[str, str | None] | None:
    """Return the sampler of a ``sampler_name`` and the schedule behind it; the API replaces unknown names."""
    if said in host.samplers:
        return said, None
    for name in host.schedules:
        base = said.removesuffix(f" {name}")
        if base != said and base in host.samplers:
            return base, _label(name, host)
    return None


def _resolved(said: str, host: HostNames) -> tuple[str, str | None] | None:
    """Return the same of a ``hr_sampler_name``: the API hands it on as it is, and SDFM replaces other programs' names."""
    return host_sampler(said, host.samplers)


def _label(said: str, host: HostNames) -> str:
    """Return the label of a schedule; the WebUI takes unknown ones for Automatic."""
    return schedule_named(said) or said if said in host.schedules else AUTOMATIC


def _text(body: Mapping[str, Any], name: str) -> str:
    said = body.get(name)
    return said if isinstance(said, str) else ""
