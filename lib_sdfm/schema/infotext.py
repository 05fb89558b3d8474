"""Generation parameters ("infotext"): what we write, and what we read.

Our keys and their order: FreeU, dynamic thresholding, SEG, PAG, CFG schedule, our own keys, ``SDFM`` last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import SettingError, UserError
from ..sampling.stages import ORIGINAL, SDFM
from .feature import Feature
from .fields import RECIPE
from .foreign import translate
from .grammar import parse_infotext as parse_infotext
from .originals import unbuilt_features, unbuilt_keys
from .params import Composite, Param, params_of
from .settings import Schema, Settings, Values

FORMAT = 1
"""Version of our format; increased when the default of an omitted key changes."""
FORMAT_KEY = "SDFM"
LONGEST_FORMAT = 9  # digits

PlaceOf = Callable[[str], Any]


@dataclass(frozen=True)
class Reading:
    """Our settings read from generation parameters.

    :param values: a value for every field; off or default if its key is missing or invalid
    :param errors: invalid values, with which the picture can't be reproduced
    :param warnings: features that we don't support
    :param used: the keys that were understood
    """

    values: Values
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


def write_infotext(
    schema: Schema, settings: Settings, acting: Collection[str] = (), place_of: PlaceOf = lambda key: None
) -> dict[str, Any]:
    """Return our pairs in the order in which they are written; the host formats values with ``str`` and quotes them.

    :param acting: names of on-by-default features that are also written at their defaults
    :param place_of: returns what to write for a key whose value is found while sampling, ``None`` to omit it
    """
    ranked = sorted((t for t in schema.chosen(settings) if t.recorded()), key=lambda t: t.rank)
    changed = settings.by_default
    by_default = [t for t in schema.by_default(settings) if t.name in acting or t.name in changed]
    off = [t for t in schema.techniques if t.name in changed and changed[t.name] is None]
    if not ranked + by_default + off:
        return {}
    pairs: dict[str, Any] = {}
    for technique in ranked:
        pairs[technique.active_key] = True
        pairs.update(_written(technique, own=False, place_of=place_of))
    for technique in ranked:
        pairs.update(_written(technique, own=True, place_of=place_of))
    for technique in by_default:
        pairs.update({technique.active_key: True, **_written(technique, own=True, place_of=place_of)})
    pairs.update({technique.active_key: False for technique in off})
    if settings.recipe != SDFM:
        pairs[RECIPE.key] = settings.recipe
    pairs[FORMAT_KEY] = FORMAT
    return pairs


def _written(technique: Feature, own: bool, place_of: PlaceOf) -> dict[str, Any]:
    chosen = technique.settings
    texts = {c.key: c.encode(chosen) for c in technique.composites if c.own is own}
    params = [p for p in params_of(technique.Settings) if p.own is own]
    values = {p.key: p.format(getattr(chosen, p.name)) for p in params if not _omitted(p, chosen)}
    places = {p.key: place_of(p.key) for p in params if p.is_found(chosen)}
    return {key: value for key, value in {**texts, **values, **places}.items() if value is not None}


def _omitted(param: Param, chosen: object) -> bool:
    if param.composite or (param.written_if is not None and not param.written_if(chosen)):
        return True
    value = getattr(chosen, param.name)
    return param.own and (value == param.default or (param.optional and value == getattr(chosen, param.follows)))


def our_keys(schema: Schema) -> set[str]:
    """Return every key that we write."""
    keys = {FORMAT_KEY, RECIPE.key}
    for technique in schema.techniques:
        keys |= {technique.active_key, *(c.key for c in technique.composites)}
        keys |= {p.key for p in params_of(technique.Settings) if not p.composite}
    return keys


def found_keys(schema: Schema) -> set[str]:
    """Return the keys whose values may be found while sampling, for each image its own."""
    return {p.key for technique in schema.techniques for p in params_of(technique.Settings) if p.found_at is not None}


def read_infotext(schema: Schema, pairs: Mapping[str, Any], claimed: Collection[str] = ()) -> Reading:
    """Read our settings from pairs of generation parameters: ours, an original's or foreign ones. Never raises.

    :param pairs: texts, or typed values if an old payload was converted to pairs
    :param claimed: keys that the host pastes itself (Forge's own FreeU, for example), which are left to it
    """
    reading = Reading(schema.defaults())
    ours = _read_format(pairs, reading)
    unbuilt = unbuilt_features(pairs, our_keys(schema))
    old = bool(unbuilt) or any(t.active_key in pairs for t in schema.techniques if not t.on_by_default and t.host_field is None)
    reading.values["recipe"] = _read_recipe(pairs, reading, default=ORIGINAL if old and not ours else SDFM)
    reading.warnings.extend(f"{key}: {what} is not supported and was ignored" for key, what in unbuilt)
    reading.used.update(unbuilt_keys(pairs, our_keys(schema)))
    for technique in schema.techniques:
        _read_technique(technique, pairs, ours, reading)
    _read_foreign(schema, pairs, claimed, reading)
    _check_together(schema, reading)
    return reading


def _read_foreign(schema: Schema, pairs: Mapping[str, Any], claimed: Collection[str], reading: Reading) -> None:
    """Add the values of other WebUIs' keys; keys of ours or of an original have priority."""
    taken = [t.name for t in schema.techniques if t.active_key in pairs]
    translation = translate(schema, pairs, taken, reading.values["recipe"] == ORIGINAL, claimed)
    reading.values.update(translation.values)
    reading.errors.extend(translation.errors)
    reading.warnings.extend(translation.warnings)
    reading.used.update(translation.used)


def _read_format(pairs: Mapping[str, Any], reading: Reading) -> bool:
    if FORMAT_KEY not in pairs:
        return False
    reading.used.add(FORMAT_KEY)
    text = str(pairs[FORMAT_KEY])
    if not text.isdecimal() or len(text) > LONGEST_FORMAT:
        reading.errors.append(str(SettingError(FORMAT_KEY, text, f"a whole number from 1 to {FORMAT}")))
    elif int(text) > FORMAT:
        reading.warnings.append(
            f"{FORMAT_KEY}: {text} was written by a newer version; some values may mean something else there"
        )
    return True


def _read_recipe(pairs: Mapping[str, Any], reading: Reading, default: str) -> str:
    if RECIPE.key not in pairs:
        return default
    reading.used.add(RECIPE.key)
    return _read_value(RECIPE, pairs, reading, default)


def _read_technique(technique: type[Feature], pairs: Mapping[str, Any], ours: bool, reading: Reading) -> None:
    params = params_of(technique.Settings)
    keys = {c.key: None for c in technique.composites} | {_key_in(p, pairs): p for p in params if not p.composite}
    present = {key: param for key, param in keys.items() if key in pairs}
    reading.used.update(present)
    if technique.on_by_default and technique.active_key not in pairs:
        reading.values.update({f"{technique.name}.{name}": value for name, value in technique.unmentioned(pairs).items()})
    if not _is_on(technique, pairs, reading):
        if technique.on_by_default and technique.active_key in pairs:
            reading.values[f"{technique.name}.enabled"] = False
        if present and technique.active_key not in pairs:
            reading.warnings.append(f"{next(iter(present))} was ignored, because {technique.active_key} is missing")
        return
    values = {"enabled": True}
    for param in params:
        missing = param.default if ours or param.absent is None else param.absent
        values[param.name] = missing if param.composite else _read_value(param, pairs, reading, missing)
    for composite in technique.composites:
        values.update(_read_composite(technique, composite, pairs, reading))
    optional = [p.name for p in params if p.optional]
    if optional:
        values["hires"] = any(values[name] is not None for name in optional)
    reading.values.update({f"{technique.name}.{name}": value for name, value in values.items()})


def _is_on(technique: type[Feature], pairs: Mapping[str, Any], reading: Reading) -> bool:
    """Return True if a technique is switched on, by its switch, or by a key of settings that needs no switch."""
    if any(technique.active_key == composite.key for composite in technique.composites):
        return technique.active_key in pairs
    switch = Param("enabled", "boolean", False, label=technique.title, key=technique.active_key, help="")
    return _read_value(switch, pairs, reading, False)


def _key_in(param: Param, pairs: Mapping[str, Any]) -> str:
    """Return the key under which a setting is present: its current key, or an older one."""
    return next((alias for alias in param.aliases if alias in pairs and param.key not in pairs), param.key)


def _read_composite(
    technique: type[Feature], composite: Composite, pairs: Mapping[str, Any], reading: Reading
) -> dict[str, Any]:
    """Return the values of settings that share one key, none if it is missing or invalid."""
    if composite.key not in pairs:
        return {}
    declared = {p.name: p for p in params_of(technique.Settings)}
    try:
        said = composite.decode(str(pairs[composite.key]))
        return {name: declared[name].check(value) for name, value in said.items()}
    except SettingError as error:
        reading.errors.append(str(error))
        return {}


def _read_value(param: Param, pairs: Mapping[str, Any], reading: Reading, missing: Any) -> Any:
    key = _key_in(param, pairs)
    if key not in pairs:
        return missing
    reading.used.add(key)
    value = pairs[key]
    try:
        return param.parse(value) if isinstance(value, str) else param.check(value)
    except SettingError as error:
        reading.errors.append(str(error))
        return missing


def _check_together(schema: Schema, reading: Reading) -> None:
    """Check values that are valid individually but not together, such as our own settings in recipe original."""
    if reading.errors:
        return
    try:
        schema.settings(reading.values)
    except UserError as error:
        reading.errors.append(str(error))
