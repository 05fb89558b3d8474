"""Time of a job in relation to the same job without SDFM, from counted operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..sampling.plan import Plan, cross_editor
from .course import PassFacts, PlannedCall, planned_calls, usual_calls
from .unet_cost import NAG, WHOLE, UnetCost, unet_cost

FACTOR = 8
"""Pixels of the picture along one side for one of the latent."""
USUAL_SIDES = {False: 512, True: 1024}
"""Usual side of a picture by whether the checkpoint is SDXL."""
NOTICEABLE = 0.005


@dataclass(frozen=True)
class SizedPass:
    """One pass with the size of its latent.

    :param facts: the pass
    :param pixels: pixels of the latent
    """

    facts: PassFacts
    pixels: int


@dataclass(frozen=True)
class CostFacts:
    """Facts of a job that decide how long it takes.

    :param sdxl: true if the checkpoint is SDXL
    :param passes: its passes; empty for one of usual length, size and CFG scale
    """

    sdxl: bool = True
    passes: Sequence[SizedPass] = field(default_factory=tuple)


USUAL = CostFacts()


@dataclass(frozen=True)
class Cost:
    """Time of a job in relation to the same job without SDFM: 1 is the same.

    :param least: if techniques leave out all that they may
    :param most: if they leave out nothing that depends on the picture
    """

    least: float
    most: float

    @property
    def words(self) -> str:
        """The cost in words: ``about +38% time``."""
        if self.least < self.most - NOTICEABLE:
            if self.most > 1 + NOTICEABLE:
                return f"up to {_percent(self.most)} time"
            return f"up to {_percent(self.least)} time" if self.least < 1 - NOTICEABLE else "no extra cost"
        return "no extra cost" if abs(self.most - 1) < NOTICEABLE else f"about {_percent(self.most)} time"


def _percent(ratio: float) -> str:
    return f"{round(100 * (ratio - 1)):+d}%".replace("-", "\N{MINUS SIGN}")


def cost_of(plan: Plan, facts: CostFacts) -> Cost:
    """Return the cost of a plan in a job. Passes are weighted by their size and number of model calls.

    :raises UnsupportedError: if a technique isn't made for the model, or names layers that it doesn't have
    """
    unet, passes = unet_cost(facts.sdxl), facts.passes or (usual_pass(facts.sdxl),)
    plain, _ = operations(Plan(plan.recipe, ()), passes, unet)
    most, least = operations(plan, passes, unet)
    return Cost(least / plain, most / plain) if plain else Cost(1.0, 1.0)


def operations(plan: Plan, passes: Sequence[SizedPass], unet: UnetCost) -> tuple[float, float]:
    """Return the operations of a job's model calls, and how few they are if all is left out that may be."""
    most = spared = 0.0
    for one in passes:
        for call in planned_calls(plan, one.facts):
            most += _rows(call, one, unet) + _extra(call, one, unet)
            if call.may_lack_uncond and call.has_uncond and call.call.index > 0:  # the first step is compared
                spared += unet.of(WHOLE, one.pixels)
    return most, most - spared


def _rows(call: PlannedCall, one: SizedPass, unet: UnetCost) -> float:
    return (one.facts.prompts + call.has_uncond) * unet.of(WHOLE, one.pixels)


def _extra(call: PlannedCall, one: SizedPass, unet: UnetCost) -> float:
    """Return the operations of a call beyond those of its rows."""
    nag = 0.0 if cross_editor(call.active) is None else unet.of(NAG, one.pixels)
    return one.facts.prompts * (unet.extra_rows(call.changes, call.edits_skips, one.pixels) + nag)


def usual_pass(sdxl: bool) -> SizedPass:
    """Return a pass of usual length, size and CFG scale."""
    side = USUAL_SIDES[sdxl] // FACTOR
    return SizedPass(PassFacts(usual_calls(PassFacts.steps)), side * side)
