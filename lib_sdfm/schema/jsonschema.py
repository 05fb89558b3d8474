"""The settings as JSON Schema (draft 2020-12), for ``GET /sdfm/v1/schema``."""

from __future__ import annotations

from typing import Any

from .fields import RECIPE
from .params import Param
from .request import OWN_VERSION, PRESET, VERSION
from .settings import Schema

TYPES = {"number": "number", "integer": "integer", "boolean": "boolean", "choice": "string", "text": "string"}


def json_schema(schema: Schema) -> dict[str, Any]:
    """Return the schema of the API's dictionary, the first and only argument of ``SDFM``."""
    named = {"type": "string", "title": "Preset", "description": "A preset's name; the other settings are set on top of it."}
    needed = {"const": OWN_VERSION, "title": "Version", "description": "The version of SDFM that must carry this out."}
    properties: dict[str, Any] = {PRESET: named, VERSION: needed, "recipe": _property(RECIPE)}
    for technique in schema.techniques:
        settings = {f.param.name: _property(f.param) for f in schema.in_panel_order(technique) if f.role != "hires"}
        properties[technique.name] = {
            "title": technique.title,
            "description": technique.summary,
            "anyOf": [{"type": "object", "properties": settings, "additionalProperties": False}, {"type": "boolean"}],
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "SDFM",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "x-positional": schema.position_names,
    }


def _property(param: Param) -> dict[str, Any]:
    kind = TYPES[param.kind]
    described: dict[str, Any] = {
        "type": [kind, "null"] if param.optional else kind,
        "title": param.label,
        "description": param.help,
        "default": param.default,
    }
    limits = {"minimum": param.minimum, "maximum": param.maximum, "enum": _choices(param)}
    described.update({name: limit for name, limit in limits.items() if limit is not None})
    return described


def _choices(param: Param) -> list[str | None] | None:
    if not param.choices:
        return None
    return [*param.choices, None] if param.optional else list(param.choices)
