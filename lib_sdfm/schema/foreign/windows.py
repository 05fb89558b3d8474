"""Windows of steps as in Forge: fractions of a counter that lags one call behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...sampling.model_call import TO_THE_END
from .text import number_of

MOST_STEPS = 10_000
NEARLY_ALL = 0.999
"""The hosts' largest denoising strength."""
HIRES_KEYS = ("Hires upscale", "Hires resize", "Hires resize-1")


@dataclass(frozen=True)
class Window:
    """Steps of a pass, both ends included.

    :param total: steps of the pass
    """

    first: int
    last: int
    total: int

    @property
    def end_step(self) -> int:
        """The last step as a setting: the pass' last step is "to the end"."""
        return TO_THE_END if self.last == self.total - 1 else self.last


def covered(start: float, end: float, total: int) -> Window | None:
    """Return the steps whose model call passes Forge's test ``start <= counter / (total - 1) <= end``, if any.

    The counter is 0 in the first and the second call, then 1 (samplers with one call per step). With one step Forge
    divides by zero and the feature stays on.
    """
    if total == 1:
        return Window(0, 0, 1)
    inside = [step for step in range(total) if start <= max(step - 1, 0) / (total - 1) <= end]
    return Window(inside[0], inside[-1], total) if inside else None


def first_pass_steps(pairs: Mapping[str, Any]) -> int | None:
    """Return the steps that the host counts in the first pass; ``None`` if the number of steps is missing."""
    steps = _whole(pairs.get("Steps"))
    strength = number_of(pairs.get("Denoising strength"))
    if steps is None or strength is None or has_hires_pass(pairs):
        return steps
    return int(min(max(strength, 0.0), NEARLY_ALL) * steps) + 1  # img2img


def hires_steps(pairs: Mapping[str, Any]) -> int | None:
    """Return the steps of the hires pass; ``None`` if there is none."""
    if not has_hires_pass(pairs):
        return None
    return _whole(pairs.get("Hires steps")) or _whole(pairs.get("Steps"))


def has_hires_pass(pairs: Mapping[str, Any]) -> bool:
    """Return True for generation parameters of a picture with a hires pass (the hosts' parsers add a resize to 0)."""
    return any(key in pairs and number_of(pairs[key]) != 0 for key in HIRES_KEYS)


def _whole(value: Any) -> int | None:
    number = number_of(value)
    return min(int(number), MOST_STEPS) if number is not None and number >= 1 else None
