"""Values of the host's own controls that belong to a preset, by the API's names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import SettingError

LABELS = {
    "sampler_name": "Sampler", "scheduler": "Schedule type", "steps": "Steps", "cfg_scale": "CFG scale",
    "negative_prompt": "Negative prompt",
}  # fmt: skip
"""The fields, with their names in the panel."""
TEXTS = ("sampler_name", "scheduler", "negative_prompt")
LARGEST = {"steps": 150, "cfg_scale": 30}


def checked_host_values(said: Any, where: str) -> dict[str, Any]:
    """Return the values, in the fields' order.

    :param where: what holds them, for the message
    :raises SettingError: for a name that doesn't exist, or a value that isn't allowed
    """
    if not isinstance(said, Mapping):
        raise SettingError(where, said, "a dictionary of the WebUI's values under its key host")
    for name, value in said.items():
        if name not in LABELS:
            raise SettingError(where, name, "one of " + ", ".join(LABELS))
        if name in TEXTS and not isinstance(value, str):
            raise SettingError(f"{where}: {name}", value, "a text")
        if name in LARGEST and not _is_number(value, 1, LARGEST[name]):
            raise SettingError(f"{where}: {name}", value, f"a number from 1 to {LARGEST[name]}")
    return {name: said[name] for name in LABELS if name in said}


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and least <= value <= most
