"""The base class of guidance methods: a feature that takes part in predictions."""

from __future__ import annotations

from ..sampling.model_call import Interval, ModelCall
from ..sampling.stages import ORIGINAL, Stages
from ..schema.feature import Feature


class Technique(Feature, Stages):
    """One guidance method: its declaration (:class:`Feature`) and its part in predictions (:class:`Stages`)."""

    def conflict(self, other: Feature) -> str | None:
        combine = self.combines() and isinstance(other, Technique) and other.combines()
        return "each of them computes CFG in its own way" if combine else None

    def in_window(self, call: ModelCall) -> bool:
        """Return True if a call lies between the settings ``start_step`` and ``end_step``, as counted by its recipe."""
        window = Interval(self.value("start_step", call.hires), self.value("end_step", call.hires))
        return window.contains_lagging(call) if self.recipe == ORIGINAL else window.contains(call)
