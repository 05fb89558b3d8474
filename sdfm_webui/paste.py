"""Pasting of generation parameters into the controls: pure functions of the parameters, total, with raw values."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping
from typing import Any

from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.foreign.sampler import SAMPLER, SCHEDULE, hires_sampler, mended_samplers
from lib_sdfm.schema.host_names import HostNames
from lib_sdfm.schema.infotext import Reading
from lib_sdfm.schema.payload import notes_of
from lib_sdfm.schema.reading import read_parameters
from lib_sdfm.schema.settings import Schema, Values

Target = Callable[[Mapping[str, Any]], Any]


def labels_of(paste_fields: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the keys that the host and other extensions paste themselves.

    :param paste_fields: the host's ``infotext_utils.paste_fields``
    """
    return {field.label for tab in paste_fields.values() for field in tab["fields"] or () if field.label}


class PasteTargets:
    """The functions that the host calls with the parsed parameters, one per control.

    They must be the same objects in both tabs, and each time the host builds its panel: "Send to" pairs them by identity.

    :param claimed: returns the keys that the host pastes itself
    :param names: returns the names that the host looks up
    """

    def __init__(
        self,
        schema: Schema,
        claimed: Callable[[], Collection[str]] = frozenset,
        names: Callable[[], HostNames] = HostNames,
    ) -> None:
        self._schema, self._claimed, self._names = schema, claimed, names
        self._last: tuple[str, Reading, Values] | None = None
        self.by_id: dict[str, Target] = {field.id: self._field_target(field) for field in schema.fields}
        self.by_api_field: dict[str, Target] = {"sampler_name": self.sampler, "scheduler": self.scheduler}
        self.by_hires_api_field: dict[str, Target] = {
            "hr_sampler_name": self.hires_sampler,
            "hr_scheduler": self.hires_scheduler,
        }

    def mend_samplers(self, infotext: str, params: dict[str, Any]) -> None:
        """Replace sampler names in parsed parameters by the host's, before its panel reads them."""
        params.update(mended_samplers(params, self._names().samplers))

    def notes(self, params: Mapping[str, Any]) -> str:
        """Return errors and warnings of the parameters, for the run that the API starts with them."""
        return notes_of(self._read(params)[0])

    def notice(self, params: Mapping[str, Any]) -> str:
        """Return the same for the panel, as HTML."""
        reading = self._read(params)[0]
        lines = [f"<li>{html.escape(line)}</li>" for line in reading.errors + reading.warnings]
        text = f"<p>From the pasted generation parameters:</p><ul>{''.join(lines)}</ul>"
        return f'<div class="sdfm-note sdfm-warning">{text}</div>' if lines else ""

    def request(self, params: Mapping[str, Any]) -> str:
        """Clear the dictionary of the API."""
        return ""

    def sampler(self, params: Mapping[str, Any]) -> str | None:
        """Return the host's sampler if the parameters have another name for it: the API doesn't call :meth:`mend_samplers`."""
        return mended_samplers(params, self._names().samplers).get(SAMPLER)

    def scheduler(self, params: Mapping[str, Any]) -> str | None:
        """Return the schedule that is part of the sampler's name."""
        return mended_samplers(params, self._names().samplers).get(SCHEDULE)

    def hires_sampler(self, params: Mapping[str, Any]) -> str | None:
        """Return the sampler of the hires pass: the API treats the panel's "Use same sampler" as a name."""
        return hires_sampler(params, self._names().samplers)[0]

    def hires_scheduler(self, params: Mapping[str, Any]) -> str | None:
        """Return the schedule of the hires pass, likewise."""
        return hires_sampler(params, self._names().samplers)[1]

    def _read(self, params: Mapping[str, Any]) -> tuple[Reading, Values]:
        """Return what the parameters say, and what the controls show for it.

        The host asks once per control with the same parameters, so the last answer is kept. It counts only for parameters
        that look the same: the host may change its dictionary in place.
        """
        claimed, names = self._claimed(), self._names()
        sizes = len(names.samplers), len(names.schedules)
        said = repr((list(params.items()), sorted(claimed), sizes))  # unlike equality it tells True from 1
        last = self._last  # another request may replace it meanwhile
        if last is None or last[0] != said:
            reading = read_parameters(self._schema, params, claimed, names)
            last = self._last = said, reading, self._schema.shown(reading.values)
        return last[1:]

    def _field_target(self, field: Field) -> Target:
        def target(params: Mapping[str, Any]) -> Any:
            return self._read(params)[1][field.id]

        target.__name__ = f"paste_{field.id.replace('.', '_')}"
        return target
