"""The switch for all guidance."""

from __future__ import annotations

from dataclasses import dataclass

from ..schema.feature import Feature


@dataclass(frozen=True)
class GuidanceSettings:
    """No settings."""


class Guidance(Feature):
    """The switch of all techniques together: off, none of them acts, is checked or is written to a picture."""

    name, label = "guidance", "Guidance"
    title = "Guidance on"
    summary = (
        "Turns all guidance off and on without losing its settings; while it is off, nothing is saved with the picture. The "
        "model kind and the refiner's prompts are not affected."
    )
    Settings = GuidanceSettings
    active_key = "SDFM Guidance"
    rank = 92
    positions = (169,)
    on_by_default = True
    is_master = True
