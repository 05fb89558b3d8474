"""Adaptive guidance, arXiv 2312.12487."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..errors import UnsupportedError
from ..ops.similarity import similarity_per_image
from ..planning.technique import Technique
from ..sampling.model_call import TO_THE_END, ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import SDFM
from ..schema.feature import CFG, Feature
from ..schema.params import ADVANCED, WHEN, choice, integer, number

DENOISED, NOISE = COMPARED = ("denoised", "noise")
MEASURED = 0
OURS = {"own": True, "recipes": (SDFM,)}
Steps = tuple[int | None, ...]
"""The step from which each image goes without CFG; ``None`` where CFG is still needed."""


def _step(default: int | None, label: str, key: str, about: str, **more: Any) -> Any:
    """Declare a step from which CFG is left out; it is found while sampling if it is 0."""
    return integer(
        default, MEASURED, slider_maximum=TO_THE_END, label=f"Adaptive guidance {label}", key=f"SDFM AG {key}", help=about,
        found_at=MEASURED, **OURS, **more,
    )  # fmt: skip


@dataclass(frozen=True)
class AdaptiveGuidanceSettings:
    """Settings of :class:`AdaptiveGuidance`."""

    threshold: float = number(
        0.99, 0, 1, step=0.001, label="Adaptive guidance threshold", key="SDFM AG Threshold",
        help="CFG ends once the two predictions are this similar (cosine similarity). 0.99 is usual; lower values end CFG "
        "earlier and save more time.", **OURS,
    )  # fmt: skip
    compare: str = choice(
        DENOISED, COMPARED, group=ADVANCED, label="Adaptive guidance compares", key="SDFM AG Compare",
        help="denoised: compares the predicted images. noise: compares the predicted noise, as in the paper; this needs a "
        "threshold closer to 1, because it becomes similar much earlier.", **OURS,
    )  # fmt: skip
    step: int = _step(
        MEASURED, "from step", "Step",
        "First step without CFG. 0: found during sampling and saved in the generation parameters.",
        place=WHEN,
    )  # fmt: skip
    refiner_step: int = _step(
        MEASURED,
        "from step, refiner",
        "Refiner Step",
        "First step without CFG while a refiner is sampling. 0: the same as for the first model.",
        group=ADVANCED,
    )
    hires_step: int | None = _step(
        None, "from step, hires pass", "Hires Step", "First step without CFG in the hires pass. 0: found during sampling.",
        follows="step",
    )  # fmt: skip
    hires_refiner_step: int | None = _step(
        None, "from step, hires pass, refiner", "Hires Refiner Step", "First step without CFG while a refiner is sampling in "
        "the hires pass. 0: the same as for the first model.",
        follows="refiner_step",
    )  # fmt: skip


class AdaptiveGuidance(Technique):
    """CFG only until the conditional and the unconditional prediction agree: then the latter is left out, per image."""

    name, label = "adaptive_guidance", "Adaptive guidance"
    title = "Adaptive guidance (ends CFG once it no longer matters)"
    part = CFG
    summary = (
        "Late in a run, the conditional and the unconditional prediction often agree and CFG adds little. From there on the "
        "unconditional prediction is skipped, and each step takes about half the time."
    )
    Settings = AdaptiveGuidanceSettings
    active_key = "SDFM AG Active"
    rank = 150
    positions = tuple(range(144, 152))
    recipes = (SDFM,)

    def conflict(self, other: Feature) -> str | None:
        if isinstance(other, Technique) and other.needs_uncond_throughout():
            return f"{other.label} needs the unconditional prediction in every step"
        return super().conflict(other)

    def condition(self) -> str | None:
        return "a CFG scale other than 1 and a sampler that isn't named CFG++"

    def spares(self, hires: bool) -> int:
        return 1

    def active(self, call: ModelCall) -> bool:
        return True

    def images_without_cfg(self, call: ModelCall) -> Sequence[bool]:
        given = self._given(call)
        if given != MEASURED:
            return (call.index >= given,)
        return [step is not None for step in self._steps(call)]

    def observe(self, prediction: Prediction, call: ModelCall) -> None:
        if self._given(call) != MEASURED:
            return
        known = self._steps(call)
        if not known and not prediction.has_uncond:  # CFG scale 1 so far
            return
        steps = known or (None,) * len(prediction.uncond)
        if prediction.has_uncond and None in steps:
            call.keep(self.name, _Crossing(self._similarity(prediction), self.settings.threshold, call.index, steps))
        setting = f"{'hires_' if call.hires else ''}{'refiner_' if call.refined else ''}step"
        never = max(call.steps, call.index + 1)
        call.found[f"{self.name}.{setting}"] = [never if step is None else step for step in steps]

    def _given(self, call: ModelCall) -> int:
        """Return the step that the settings give for a call's model, 0 if it is found by comparing."""
        own = self.value("refiner_step", call.hires) if call.refined else MEASURED
        return own if own != MEASURED else self.value("step", call.hires)

    def _steps(self, call: ModelCall) -> Steps:
        """Return the steps found so far; empty if there was nothing to compare yet."""
        crossing = call.previous(self.name)
        return () if crossing is None else crossing.steps

    def _similarity(self, prediction: Prediction) -> Tensor:
        """Return how similar the two predictions of each image are, ``(B,)``. Noise is ``(x - x0) / sigma``."""
        cond, uncond = prediction.cond_per_image(), prediction.uncond
        if self.settings.compare == DENOISED:
            return similarity_per_image(cond, uncond)
        if prediction.noisy is None:
            raise UnsupportedError("Adaptive guidance: the latent of this model call is unknown")
        return similarity_per_image(prediction.noisy - cond, prediction.noisy - uncond)


class _Crossing:
    """The similarities measured in a step, compared in the next one, with one read from the device.

    :param similarity: of each image, ``(B,)``
    :param step: the step in which they were measured
    :param before: the steps found earlier
    """

    def __init__(self, similarity: Tensor, threshold: float, step: int, before: Steps) -> None:
        self._similarity, self._threshold, self._next, self._before = similarity, threshold, step + 1, before

    @cached_property
    def steps(self) -> Steps:
        """The step from which each image goes without CFG."""
        similar = (self._similarity >= self._threshold).cpu().tolist()
        found = (self._next if is_similar else None for is_similar in similar)
        return tuple(new if old is None else old for old, new in zip(self._before, found))
