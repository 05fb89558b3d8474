"""Schedules of the CFG scale offered by incantations (arXiv 2404.13040, and its own)."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float, float], float]
"""Function from the CFG scale and the time in [0, 1] (0: start of sampling) to the scale at that time."""


def linear(scale: float, time: float) -> float:
    """Decrease linearly, with the same mean over the run."""
    return 2 * scale * (1 - time)


def cosine(scale: float, time: float) -> float:
    """Decrease along a cosine, with the same mean over the run."""
    return scale * (1 + math.cos(math.pi * time))


def powered_cosine(power: float) -> Schedule:
    """Increase or decrease along a cosine of a power of the remaining time."""
    return lambda scale, time: scale * (1 - math.cos(math.pi * max(0.0, 1 - time) ** power)) / 2


def at_least(least: float, schedule: Schedule) -> Schedule:
    """Return a schedule that never goes below ``least``."""
    return lambda scale, time: max(least, schedule(scale, time))


CONSTANT, INTERVAL = "Constant", "Interval"
SCHEDULES: dict[str, Schedule] = {
    CONSTANT: lambda scale, time: scale,
    "Clamp-Linear (c=4.0)": at_least(4.0, linear),
    "Clamp-Linear (c=2.0)": at_least(2.0, linear),
    "Clamp-Linear (c=1.0)": at_least(1.0, linear),
    "Linear": linear,
    "Inverse-Linear": lambda scale, time: 2 * scale * time,
    "Cosine": cosine,
    "Clamp-Cosine (c=4.0)": at_least(4.0, cosine),
    "Clamp-Cosine (c=2.0)": at_least(2.0, cosine),
    "Clamp-Cosine (c=1.0)": at_least(1.0, cosine),
    "Sine": lambda scale, time: scale * (1 + math.sin(math.pi * time - math.pi / 2)),
    INTERVAL: lambda scale, time: scale,
    "PCS (s=0.01)": powered_cosine(0.01),
    "PCS (s=0.1)": powered_cosine(0.1),
    "PCS (s=1.0)": powered_cosine(1.0),
    "PCS (s=2.0)": powered_cosine(2.0),
    "PCS (s=4.0)": powered_cosine(4.0),
}
"""Schedules by their name in generation parameters. ``Interval`` is constant; the technique decides where it applies."""


def edm_noise_level(step: int, steps: int) -> float:
    """Return the noise level that incantations assumed for a sampler: EDM's with sigma 80 to 0.002 and rho 3
    (arXiv 2206.00364, equation 5), and 0 from step ``steps`` on."""
    if step == 0:
        return 80.0
    if step >= steps:
        return 0.0
    high, low = 80.0 ** (1 / 3), 0.002 ** (1 / 3)
    return (high + step / (steps - 1) * (low - high)) ** 3


def nearest_edm_noise_level(level: float, steps: int) -> float:
    """Return the level of that curve that is nearest to ``level``."""
    if level <= 0.002:
        return 0.0
    if level >= 80.0:
        return 80.0
    return min((edm_noise_level(i, steps) for i in range(steps)), key=lambda known: abs(known - level))
