"""The schema of the registered techniques, and the shipped presets."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .schema.presets import Preset, named_preset
from .schema.settings import Schema
from .techniques import TECHNIQUES

SHIPPED_PRESETS = tuple(
    Preset(**said) for said in json.loads(Path(__file__).with_name("presets.json").read_text(encoding="utf8"))
)


def shipped_preset(name: Any) -> Mapping[str, Any]:
    """Return the API's dictionary of a shipped preset.

    :raises SettingError: if there is none of this name
    """
    return named_preset(name, {preset.name: preset for preset in SHIPPED_PRESETS}).request


SCHEMA = Schema(TECHNIQUES, preset=shipped_preset)
"""The schema with all techniques."""


def schema_for(has: Callable[[str], bool], preset: Callable[[Any], Mapping[str, Any]] = shipped_preset) -> Schema:
    """Return the schema of a host, without the techniques that it has itself.

    :param has: returns True if the host's txt2img jobs have a field of this name
    :param preset: returns the API's dictionary of a preset
    """
    return Schema(TECHNIQUES, tuple(t for t in TECHNIQUES if t.host_field is not None and has(t.host_field)), preset)
