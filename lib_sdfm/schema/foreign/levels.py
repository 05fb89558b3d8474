"""Noise levels in foreign generation parameters: those of flow models are times there, from 0 to 1."""

from __future__ import annotations

from ...ops.flow import time_to_sigma
from ..window import NO_UPPER_END
from .text import ForeignText
from .writer import NEO, writer_of

FLOW_NAMES = ("rectified",)
"""Parts of checkpoint names with which Forge Neo takes an SDXL checkpoint for a flow model."""
FLOW_MODES = ("SD3", "Aura Flow", "Flux")
"""reForge's ways of sampling a flow model."""
HIGHEST_TIME = NO_UPPER_END / (1 + NO_UPPER_END)


def is_named_flow(text: ForeignText) -> bool:
    """Return True if Forge Neo takes the text's checkpoint for a flow model, by its name."""
    return any(word in str(text.pairs.get("Model", "")).lower() for word in FLOW_NAMES)


def noise_level(text: ForeignText, level: float) -> float:
    """Return a level of generation parameters in k-diffusion's scale; negative numbers, which mean none, as they are.

    Where reForge or Forge Neo samples a flow model itself, its samplers' sigmas are times.
    """
    mode = text.value("advanced_sampling_mode", "") if text.is_on("advanced_sampling_enabled") else ""
    in_times = mode in FLOW_MODES or (is_named_flow(text) and writer_of(text.pairs).name == NEO)
    if not in_times or level <= 0:
        return level
    return NO_UPPER_END if level >= HIGHEST_TIME else time_to_sigma(level)
