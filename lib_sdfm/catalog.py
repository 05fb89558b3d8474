"""The schema of the registered techniques, and the shipped presets."""

import json
from pathlib import Path

from .schema.presets import Preset
from .schema.settings import Schema
from .techniques import TECHNIQUES

SCHEMA = Schema(TECHNIQUES)
SHIPPED_PRESETS = tuple(
    Preset(**said) for said in json.loads(Path(__file__).with_name("presets.json").read_text(encoding="utf8"))
)
