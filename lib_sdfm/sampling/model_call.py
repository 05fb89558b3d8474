"""The position of a run: the current step, and intervals of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .memory import PassMemory

TO_THE_END = 150
"""Slider maximum; an interval's end at or beyond it means "to the end" in recipe sdfm."""


@dataclass(frozen=True)
class HostCounters:
    """The host's counters, used only by recipe original.

    :param lagging: step counter set by the sampler's callback: 0, 0, 1, 2, ... for first-order samplers
    :param call: denoiser calls of this pass so far
    :param calls: denoiser calls that the host expects in this pass (twice the steps for second-order samplers)
    :param run_call: denoiser calls of this batch so far, the first pass included
    :param pass_steps: steps of this pass according to the host
    :param job_steps: the steps that the user set for the first pass
    :param job_cfg_scale: the CFG scale that the user set
    :param hires_sampler: true if the user chose a sampler for the hires pass
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

    :param index: the sampler's step in the pass, from 0; the same for all calls of a second-order step
    :param total: number of steps of the pass, ``None`` if only the sampler knows it (DPM adaptive, Restart)
    :param sigma: noise level of this call, in k-diffusion's scale; ``None`` if no technique needs it
    :param timestep: the model time of this call, 0 to 999 (a flow model's: to 1000); ``None`` like ``sigma``
    :param hires: true in the hires pass
    :param scale_multiplier: the sampler's multiplier of the CFG scale (1/12.5 for A1111's DDIM CFG++), and of other
        guidance too
    :param host: the host's own counters
    :param ratio: noise level at the end of this step over the one at its start, before the sampler adds noise; the same for
        all calls of a step, 1 or more where the level rises, ``None`` if only the sampler knows
    :param cfg_unit: what CFG 1 is in this call's CFG scale: ``scale_multiplier``, or 1/12.5 if the scale is CFG++'s lambda
    :param seeds: the seed of each image of the batch
    :param flow_model: true if the model is sampled as a flow model
    :param refined: true once a refiner has taken over in this pass
    :param found: values of settings that techniques find while sampling, per image, by field id (``pag.scale``)
    :param memory: what techniques keep over the steps of this pass
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
    seeds: tuple[int, ...] = ()
    flow_model: bool = False
    refined: bool = False
    found: dict[str, list] = field(default_factory=dict, compare=False, repr=False)
    memory: PassMemory = field(default_factory=PassMemory, compare=False, repr=False)

    @property
    def steps(self) -> int:
        """Number of steps of the pass; the user's setting if the sampler decides it while running."""
        return max(self.host.pass_steps if self.total is None else self.total, 1)

    @property
    def fraction(self) -> float:
        """Progress of the pass: 0 at its first step, 1 at its last; 0 if there is only one."""
        return min(self.index / (self.steps - 1), 1.0) if self.steps > 1 else 0.0

    def guides(self, cfg_scale: float) -> bool:
        """Return True if a CFG scale of this call adds guidance: at what CFG 1 is in it the result is the conditional one."""
        return cfg_scale > self.cfg_unit

    def previous(self, name: str) -> Any:
        """Return the value that a technique last kept in an earlier step of this pass, ``None`` if there is none."""
        return self.memory.before(name, self.index)

    def rises(self, name: str) -> bool:
        """Return True if this step starts at a higher noise level than the one before: Restart goes back, others descend.

        :param name: under which levels are kept, by the first call of each step; their technique has ``needs_level``
        """
        level = self.memory.now(name, self.index)
        if level is None:
            level = self.sigma
            self.keep(name, level)
        before = self.previous(name)
        return before is not None and level > before

    def keep(self, name: str, value: Any) -> None:
        """Keep a technique's value, per image, for later steps of this pass; the last call of a step counts."""
        self.memory.keep(name, self.index, value)


@dataclass(frozen=True)
class Interval:
    """Steps from ``start`` to ``end``, both included."""

    start: int
    end: int

    def contains(self, call: ModelCall) -> bool:
        """Return True if a step is inside, in the sampler's steps (recipe sdfm); an end of 150 or more means "to the end"."""
        return self.start <= call.index and (self.end >= TO_THE_END or call.index <= self.end)

    def contains_lagging(self, call: ModelCall) -> bool:
        """Return True if a step is inside, counted as in incantations (recipe original), whose first two calls are 0."""
        return self.start <= call.host.lagging <= self.end
