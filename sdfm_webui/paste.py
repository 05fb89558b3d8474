"""What pasting generation parameters does to the controls: pure functions of the parameters, total, with raw values."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.infotext import Reading, read_infotext
from lib_sdfm.schema.payload import notes_of
from lib_sdfm.schema.settings import Schema

Target = Callable[[Mapping[str, Any]], Any]


class PasteTargets:
    """The functions that the host calls with the parsed parameters, one per control.

    They must be the same objects in both tabs, and each time the host builds its panel: "Send to" pairs them by identity.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.by_id: dict[str, Target] = {field.id: self._field_target(field) for field in schema.fields}

    def notes(self, params: Mapping[str, Any]) -> str:
        """What the text asks for and can't have, for the run that the API starts with it."""
        return notes_of(self._read(params))

    def notice(self, params: Mapping[str, Any]) -> str:
        """The same for the reader of the panel, as HTML."""
        reading = self._read(params)
        lines = [f"<li>{html.escape(line)}</li>" for line in reading.errors + reading.warnings]
        return f"<p>From the pasted text:</p><ul>{''.join(lines)}</ul>" if lines else ""

    def request(self, params: Mapping[str, Any]) -> str:
        """Clears the dictionary of the API."""
        return ""

    def _read(self, params: Mapping[str, Any]) -> Reading:
        return read_infotext(self._schema, params)

    def _field_target(self, field: Field) -> Target:
        def target(params: Mapping[str, Any]) -> Any:
            return self._schema.shown(self._read(params).values)[field.id]

        target.__name__ = f"paste_{field.id.replace('.', '_')}"
        return target
