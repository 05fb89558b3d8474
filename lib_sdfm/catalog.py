"""The schema of the techniques that are registered, and the presets that come with them."""

import json
from pathlib import Path

from .schema.presets import Preset
from .schema.settings import Schema
from .techniques import TECHNIQUES

SCHEMA = Schema(TECHNIQUES)
SHIPPED_PRESETS = tuple(
    Preset(**said) for said in json.loads(Path(__file__).with_name("presets.json").read_text(encoding="utf8"))
)
