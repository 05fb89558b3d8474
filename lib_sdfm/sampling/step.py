"""Where a run stands: the step, and intervals of steps."""

from __future__ import annotations

from dataclasses import dataclass

TO_THE_END = 150
"""An interval's end at or beyond this, the slider's maximum, means "to the end" in recipe sdfm."""


@dataclass(frozen=True)
class Step:
    """One call of the denoiser.

    :param index: the sampler's step of the pass, from 0; the same for all calls of a step of second order
    :param total: number of steps of the pass, ``None`` where the sampler decides while it runs (DPM adaptive, Restart)
    :param sigma: noise level of this call, in k-diffusion's scale
    :param timestep: the model's time of this call, 0 to 999
    :param hires: whether this is the hires pass
    :param host_index: the host's own lagging counter, 0, 0, 1, 2, ... for samplers of first order (recipe original)
    :param scale_multiplier: what the sampler multiplies the CFG scale with (1/12.5 for A1111's DDIM CFG++)
    """

    index: int
    total: int | None
    sigma: float
    timestep: float
    hires: bool = False
    host_index: int = 0
    scale_multiplier: float = 1.0


@dataclass(frozen=True)
class Interval:
    """Steps from ``start`` to ``end``, both included."""

    start: int
    end: int

    def contains(self, step: Step) -> bool:
        """Recipe sdfm: counts the sampler's steps of the pass; an end of 150 or more means "to the end"."""
        return self.start <= step.index and (self.end >= TO_THE_END or step.index <= self.end)

    def contains_lagging(self, step: Step) -> bool:
        """Recipe original: counts as incantations did, whose counter says 0 on the first two calls."""
        return self.start <= step.host_index <= self.end
