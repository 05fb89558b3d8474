"""The schema of the registered techniques, and the shipped presets."""

import json
from collections.abc import Callable
from pathlib import Path

from .schema.presets import Preset
from .schema.settings import Schema
from .techniques import TECHNIQUES

SCHEMA = Schema(TECHNIQUES)
"""The schema with all techniques."""
SHIPPED_PRESETS = tuple(
    Preset(**said) for said in json.loads(Path(__file__).with_name("presets.json").read_text(encoding="utf8"))
)


def schema_for(has: Callable[[str], bool]) -> Schema:
    """Return the schema of a host, without the techniques that it has itself.

    :param has: returns True if the host's txt2img jobs have a field of this name
    """
    return Schema(TECHNIQUES, tuple(t for t in TECHNIQUES if t.host_field is not None and has(t.host_field)))
