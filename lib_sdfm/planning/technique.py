"""The base class of guidance methods: a feature that takes part in predictions."""

from __future__ import annotations

from dataclasses import replace

from ..sampling.model_call import Interval, ModelCall
from ..sampling.stages import ORIGINAL, Stages
from ..schema.feature import Feature
from ..schema.window import NO_UPPER_END

ANY_CALL = ModelCall(index=0, total=None, sigma=1.0, timestep=500.0)


class Technique(Feature, Stages):
    """One guidance method: its declaration (:class:`Feature`) and its part in predictions (:class:`Stages`)."""

    is_guidance = True

    def conflict(self, other: Feature) -> str | None:
        combine = self.combines() and isinstance(other, Technique) and other.combines()
        return "each of them computes CFG in its own way" if combine else None

    def needs_uncond_throughout(self) -> bool:
        """Return True if its settings make it need the unconditional prediction for more than CFG, in either pass."""
        return any(self.needs_uncond(replace(ANY_CALL, hires=hires)) for hires in (False, True))

    def in_window(self, call: ModelCall) -> bool:
        """Return True if a call lies between the settings ``start_step`` and ``end_step``, as counted by its recipe."""
        window = Interval(self.value("start_step", call.hires), self.value("end_step", call.hires))
        return window.contains_lagging(call) if self.recipe == ORIGINAL else window.contains(call)

    def in_noise_window(self, call: ModelCall) -> bool:
        """Return True if a call's noise level is at most the setting ``sigma_from`` and above ``sigma_to``."""
        if not self.limits_noise():
            return True
        first, last = self.settings.sigma_from, self.settings.sigma_to
        return last < call.sigma and (call.sigma <= first or first >= NO_UPPER_END)

    def limits_noise(self) -> bool:
        """Return True if it has the settings ``sigma_from`` and ``sigma_to``, and they leave out any noise level."""
        if not hasattr(self.settings, "sigma_from"):
            return False
        return self.settings.sigma_from < NO_UPPER_END or self.settings.sigma_to > 0

    def why_no_noise_level(self) -> str | None:
        """Return why its window of noise levels holds none at all, or ``None`` if it holds some."""
        is_empty = self.limits_noise() and self.settings.sigma_to >= self.settings.sigma_from < NO_UPPER_END
        return f"{self.noise_window()} contains no noise level" if is_empty else None

    def noise_window(self) -> str:
        """Return its window of noise levels in words."""
        first = f"from {self.settings.sigma_from:g}" if self.settings.sigma_from < NO_UPPER_END else "from the start"
        return f"its window of noise levels, {first} down to {self.settings.sigma_to:g},"
