"""Assignment of model calls to the sampler's steps."""

from __future__ import annotations

from collections.abc import Callable

CallsOfStep = Callable[[int], int]


class StepClock:
    """Counts the model calls and callbacks of one pass.

    A sampler calls the model one or more times per step, and its callback once: most after the first call of a step
    (k-diffusion, DDIM), some at its end (PLMS, DPM adaptive).

    :param calls_of: number of model calls of step ``i``, if the callback comes after the first of them; 1 if it ends the
        step, regardless of their number
    """

    def __init__(self, calls_of: CallsOfStep) -> None:
        self._calls_of = calls_of
        self._callbacks = 0
        self._calls_since = 0

    def call(self) -> int:
        """Register a model call and return the index of its step, from 0."""
        step = self._callbacks
        if self._callbacks and self._calls_since < self._calls_of(step - 1) - 1:
            step -= 1
        self._calls_since += 1
        return step

    def callback(self) -> None:
        """Register the sampler's callback."""
        self._callbacks += 1
        self._calls_since = 0


class CallClock(StepClock):
    """The clock of samplers with one call per step, whenever they call back (UniPC makes one call ahead)."""

    def __init__(self) -> None:
        super().__init__(single_calls)
        self._calls = 0

    def call(self) -> int:
        self._calls += 1
        return self._calls - 1


def single_calls(step: int) -> int:
    """Return 1: one call per step."""
    return 1
