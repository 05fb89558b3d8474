"""The API's dictionary: ``{"recipe": "sdfm", "pag": {"scale": 3}}``. Naming a technique turns it on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lib_sdfm import __version__

from ..errors import SettingError, UnsupportedError
from .feature import Feature
from .params import params_of
from .settings import Schema, Settings, Values

PRESET, VERSION = "preset", "version"
"""Names in a request that are no settings: of a preset, and of the version of SDFM that must carry it out."""
OWN_VERSION = ".".join(__version__.split(".")[:2])
"""This version, without the number of its corrections."""


def request_for(schema: Schema, settings: Settings) -> dict[str, Any]:
    """Return the request for these settings: techniques that are on, with values that differ from the defaults."""
    request: dict[str, Any] = {"recipe": settings.recipe}
    for technique in schema.techniques:
        if technique.name in settings.techniques:
            chosen = settings.techniques[technique.name]
            said = {p.name: (getattr(chosen, p.name), p.default) for p in params_of(technique.Settings)}
            request[technique.name] = {name: value for name, (value, default) in said.items() if value != default}
    for name, chosen in settings.by_default.items():
        request[name] = False if chosen is None else dataclasses.asdict(chosen)
    return request


def apply_request(schema: Schema, values: Mapping[str, Any], request: Mapping[str, Any]) -> Values:
    """Return ``values`` updated by a request.

    A technique is named with a dictionary of its settings (``{}``: all unchanged), or ``true`` or ``false``. With ``preset``
    the preset's values take the place of ``values``. A ``version`` other than this one is refused.

    :raises SettingError: for a name that doesn't exist; values are checked by :meth:`Schema.settings`
    :raises UnsupportedError: if it asks for another version
    """
    _require_version(request.get(VERSION, OWN_VERSION))
    request = {name: said for name, said in request.items() if name != VERSION}
    if PRESET in request:
        values = _preset_values(schema, request[PRESET])
        request = {name: said for name, said in request.items() if name != PRESET}
    merged = dict(values)
    techniques = {technique.name: technique for technique in schema.techniques}
    left = {technique.name: technique for technique in schema.left_to_host}
    for name, said in request.items():
        if name == "recipe":
            merged["recipe"] = said
        elif name in techniques:
            _apply_technique(schema, techniques[name], said, merged)
        elif name in left:
            schema.require_off(left[name], said)
        else:
            raise SettingError(name, said, f"one of {PRESET}, {VERSION}, recipe, " + ", ".join(techniques))
    return merged


def _require_version(asked: Any) -> None:
    if not isinstance(asked, str) or not asked.strip():
        raise SettingError(VERSION, asked, f"a version as text: {OWN_VERSION!r} is this one")
    if asked != OWN_VERSION:
        raise UnsupportedError(
            f"{VERSION}: these settings are for SDFM {asked}, but this is SDFM {OWN_VERSION}. Install the same version on all "
            "machines"
        )


def _preset_values(schema: Schema, name: Any) -> Values:
    said = schema.preset(name)
    if PRESET in said:
        raise SettingError(PRESET, name, "a preset whose file names settings, not another preset")
    return apply_request(schema, schema.defaults(), said)


def _check_implied(schema: Schema, technique: type[Feature], name: str, said: Mapping[str, Any]) -> None:
    """Refuse a dictionary in which a value contradicts what another setting implies."""
    field = schema.by_id.get(f"{technique.name}.{name}")
    for other, implied in field.param.implies if field is not None and said[name] is not None else ():
        if said.get(other, implied) != implied:
            raise SettingError(f"{technique.name}.{other}", said[other], f"only {implied} together with {name}")


def _apply_technique(schema: Schema, technique: type[Feature], said: Any, merged: Values) -> None:
    switch = f"{technique.name}.enabled"
    merged[switch] = True
    if isinstance(said, bool):
        merged[switch] = said
        return
    if not isinstance(said, Mapping):
        raise SettingError(f"{technique.name}", said, "a dictionary of its settings, true or false")
    for name, value in said.items():
        _check_implied(schema, technique, name, said)
        field = schema.by_id.get(f"{technique.name}.{name}")
        if field is None or field.role == "hires":
            known = [f.param.name for f in schema.in_panel_order(technique) if f.role != "hires"]
            raise SettingError(f"{technique.name}.{name}", value, "one of " + ", ".join(known))
        schema.name_value(merged, field.id, value)
