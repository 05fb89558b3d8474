"""What pasting generation parameters does to the controls: pure functions of the parameters, total, with raw values."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping
from typing import Any

from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.foreign import true_sampler
from lib_sdfm.schema.infotext import Reading, read_infotext
from lib_sdfm.schema.payload import notes_of
from lib_sdfm.schema.settings import Schema

Target = Callable[[Mapping[str, Any]], Any]
SAMPLER = "Sampler"


def labels_of(paste_fields: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The keys that the host and other extensions paste themselves.

    :param paste_fields: the host's ``infotext_utils.paste_fields``
    """
    return {field.label for tab in paste_fields.values() for field in tab["fields"] or () if field.label}


def mend_sampler(infotext: str, params: dict[str, Any]) -> None:
    """Puts the true sampler into parsed parameters before the host's panel reads them."""
    if SAMPLER in params:
        params[SAMPLER] = true_sampler(str(params[SAMPLER]))


class PasteTargets:
    """The functions that the host calls with the parsed parameters, one per control.

    They must be the same objects in both tabs, and each time the host builds its panel: "Send to" pairs them by identity.

    :param claimed: tells which keys the host pastes itself
    """

    def __init__(self, schema: Schema, claimed: Callable[[], Collection[str]] = frozenset) -> None:
        self._schema, self._claimed = schema, claimed
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

    def sampler(self, params: Mapping[str, Any]) -> str | None:
        """The true sampler where the text has another name for it: for the API, which calls no :func:`mend_sampler`."""
        said = str(params.get(SAMPLER, ""))
        return None if true_sampler(said) == said else true_sampler(said)

    def _read(self, params: Mapping[str, Any]) -> Reading:
        return read_infotext(self._schema, params, self._claimed())

    def _field_target(self, field: Field) -> Target:
        def target(params: Mapping[str, Any]) -> Any:
            return self._schema.shown(self._read(params).values)[field.id]

        target.__name__ = f"paste_{field.id.replace('.', '_')}"
        return target
