"""Flow models that the host samples itself: its samplers see times t from 0 to 1, and latents ``(1 - t) * x0 + t * noise``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HostFlow:
    """How a host samples them.

    :param adds_noise_right: true if its ancestral and SDE samplers take such models into account (Forge Neo)
    """

    adds_noise_right: bool
