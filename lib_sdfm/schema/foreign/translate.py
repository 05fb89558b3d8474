"""Conversion of the features in foreign generation parameters to values of our techniques."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import SettingError
from ..settings import Schema, Values
from .forge import FORGE
from .guidance import GUIDANCE
from .model_kind import MODEL_KINDS
from .others import OTHERS
from .pamparamm import PAMPARAMM
from .source import Said, Source
from .text import ForeignText

SOURCES = (*PAMPARAMM, *FORGE, *OTHERS, *GUIDANCE, *MODEL_KINDS)


@dataclass(frozen=True)
class Translation:
    """Result of reading foreign keys.

    :param values: values by field id, of the techniques that they switch on
    :param errors: invalid values
    :param warnings: unsupported requests, in words
    :param used: the keys that were understood
    """

    values: Values
    errors: list[str]
    warnings: list[str]
    used: set[str]


def translate(
    schema: Schema,
    pairs: Mapping[str, Any],
    taken: Collection[str] = (),
    is_original: bool = False,
    claimed: Collection[str] = (),
) -> Translation:
    """Read the foreign keys of generation parameters. Never raises.

    :param taken: names of the techniques switched on by keys of ours or of an original
    :param is_original: true if those keys select recipe original
    :param claimed: keys that the host itself pastes: their features are left to it
    """
    text = ForeignText(pairs)
    present = [source for source in SOURCES if source.is_present(text)]
    present = [source for source in present if not _is_left_to_host(source, text, claimed)]
    active = [source for source in present if source.is_on(text)]
    _note_keys(present, text)
    values: Values = {}
    sources: dict[str, Source] = {}
    for source in active:
        why = _why_left_out(schema, source, active, taken, sources, is_original)
        if why is not None:
            text.name(source.shown, f"{source.what} {why}")
        elif (said := source.read(text)) is not None:
            sources[str(source.technique)] = source
            values.update(_checked(schema, source, said, text))
    return Translation(values, text.errors, text.warnings, text.used)


def _is_left_to_host(source: Source, text: ForeignText, claimed: Collection[str]) -> bool:
    """Return True if the host pastes a feature itself; its keys are understood, and a warning says who acts."""
    if not any(key in claimed for key in source.all_keys):
        return False
    text.used.update(key for key in source.all_keys if key in text.pairs)
    if source.is_on(text):
        text.name(source.shown[:1], f"{source.what} is set in this WebUI's own controls; SDFM's stays off")
    return True


def _note_keys(present: list[Source], text: ForeignText) -> None:
    """Mark the keys of the present features as understood, and name features without their switch."""
    switched = [source for source in present if any(switch in text.pairs for switch in source.switches)]
    of_those = {key for source in switched for key in source.all_keys}
    for source in present:
        keys = [key for key in source.all_keys if key in text.pairs]
        text.used.update(keys)
        if not of_those.issuperset(keys):  # several programs' features share some keys
            text.name(keys[:1], f"was ignored, because {source.switch} is missing")


def _why_left_out(
    schema: Schema,
    source: Source,
    active: list[Source],
    taken: Collection[str],
    sources: Mapping[str, Source],
    is_original: bool,
) -> str | None:
    """Return why a feature that is on becomes none of our techniques, ``None`` if it does."""
    last = max(active, key=lambda other: other.replaces_cfg)
    technique = next((t for t in schema.techniques if t.name == source.technique), None)
    if 0 < source.replaces_cfg < last.replaces_cfg:
        return f"had no effect there together with {last.what} and was ignored"
    if technique is None:
        return source.why_not
    if technique.name in taken:
        return f"was ignored: {technique.active_key} is given as well and has priority"
    if is_original:
        return "was ignored: the rest is calculated as the old extensions, where it would mean something else"
    if technique.name in sources:
        return f"was ignored: {sources[technique.name].switch} is given as well, and SDFM has only one {technique.label}"
    return None


def _checked(schema: Schema, source: Source, said: Said, text: ForeignText) -> Values:
    """Return values by field id; a value that isn't allowed here is an error under the foreign key."""
    values: Values = {f"{source.technique}.enabled": True}
    for setting, (value, key) in said.items():
        id = f"{source.technique}.{setting}"
        param = schema.by_id[id].param
        try:
            values[id] = param.check(value)
        except SettingError:
            text.refuse(key, f"{param.allowed}, as for {param.key}")
    hires = schema.by_id.get(f"{source.technique}.hires")
    if hires is not None:
        values[hires.id] = any(schema.by_id[id].param.optional and value is not None for id, value in values.items())
    return values
