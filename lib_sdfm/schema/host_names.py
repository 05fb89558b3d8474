"""Names of samplers and schedules that a WebUI looks up."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..sampling.sampler_names import SCHEDULES, schedule_named
from ..sampling.samplers import SAMPLERS

NAMES = frozenset(record.name for record in SAMPLERS)
HOST_SCHEDULES = frozenset(name for label in SCHEDULES for name in (label, label.lower().replace(" ", "_")))


@dataclass(frozen=True)
class HostNames:
    """Names that a WebUI looks up; where they aren't known, those that SDFM knows.

    :param samplers: of samplers
    :param schedules: of schedules
    """

    samplers: Collection[str] = NAMES
    schedules: Collection[str] = HOST_SCHEDULES

    def has_schedule(self, said: str) -> bool:
        """Return True if the WebUI has a schedule, by this or another of its names."""
        label = schedule_named(said)
        return said in self.schedules or (label is not None and label in map(schedule_named, self.schedules))
