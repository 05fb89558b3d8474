"""Where a run stands: the step, and intervals of steps."""

from __future__ import annotations

from dataclasses import dataclass, field

TO_THE_END = 150
"""An interval's end at or beyond this, the slider's maximum, means "to the end" in recipe sdfm."""


@dataclass(frozen=True)
class HostCounters:
    """What the host counts, of use to recipe original alone.

    :param lagging: step counter that the sampler's callback sets: 0, 0, 1, 2, ... for samplers of first order
    :param call: denoiser calls of this pass so far
    :param calls: denoiser calls that the host expects in this pass (twice the steps for samplers of second order)
    :param run_call: denoiser calls of this batch so far, the first pass included
    :param pass_steps: steps of this pass as the host says
    :param job_steps: the steps that the user asked for, of the first pass
    :param job_cfg_scale: the CFG scale that the user asked for
    :param hires_sampler: whether the user chose a sampler for the hires pass
    """

    lagging: int = 0
    call: int = 0
    calls: int = 1
    run_call: int = 0
    pass_steps: int = 1
    job_steps: int = 1
    job_cfg_scale: float = 1.0
    hires_sampler: bool = False


@dataclass(frozen=True)
class ModelCall:
    """One call of the denoiser.

    :param index: the sampler's step of the pass, from 0; the same for all calls of a step of second order
    :param total: number of steps of the pass, ``None`` where only the sampler knows it (DPM adaptive, Restart)
    :param sigma: noise level of this call, in k-diffusion's scale; ``None`` where no technique asked for it
    :param timestep: the model's time of this call, 0 to 999 (a flow model's: to 1000); ``None`` like ``sigma``
    :param hires: whether this is the hires pass
    :param scale_multiplier: what the sampler multiplies the CFG scale with (1/12.5 for A1111's DDIM CFG++), and other
        guidance too
    :param host: the host's own counters
    :param ratio: noise level at which this step ends over the one at which it starts, before the sampler adds noise; the
        same for all calls of a step, 1 or more where the level rises, ``None`` where only the sampler knows
    :param cfg_unit: what CFG 1 is in this call's CFG scale: ``scale_multiplier``, or 1/12.5 where the scale is CFG++'s lambda
    """

    index: int
    total: int | None
    sigma: float | None
    timestep: float | None
    hires: bool = False
    scale_multiplier: float = 1.0
    host: HostCounters = field(default_factory=HostCounters)
    ratio: float | None = None
    cfg_unit: float = 1.0

    @property
    def steps(self) -> int:
        """Number of steps of the pass; where the sampler decides while it runs, what the user asked for."""
        return max(self.host.pass_steps if self.total is None else self.total, 1)

    @property
    def fraction(self) -> float:
        """How far the pass is: 0 at its first step, 1 at its last; 0 if there is only one."""
        return min(self.index / (self.steps - 1), 1.0) if self.steps > 1 else 0.0


@dataclass(frozen=True)
class Interval:
    """Steps from ``start`` to ``end``, both included."""

    start: int
    end: int

    def contains(self, step: ModelCall) -> bool:
        """Recipe sdfm: counts the sampler's steps of the pass; an end of 150 or more means "to the end"."""
        return self.start <= step.index and (self.end >= TO_THE_END or step.index <= self.end)

    def contains_lagging(self, step: ModelCall) -> bool:
        """Recipe original: counts as incantations did, whose counter says 0 on the first two calls."""
        return self.start <= step.host.lagging <= self.end
