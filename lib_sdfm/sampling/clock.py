"""Which step of the sampler a model call belongs to."""

from __future__ import annotations

from collections.abc import Callable

LastCalls = Callable[[int], int]


class StepClock:
    """Counts the model calls and callbacks of one pass.

    A sampler calls the model one or more times per step, and its callback once. Most call back after the first call of
    a step (k-diffusion, DDIM), some at the end of it (PLMS, DPM adaptive).

    :param calls_of: model calls that step ``i`` makes, where the callback comes after the first of them; 1 where it
        ends the step, however many there are
    """

    def __init__(self, calls_of: LastCalls) -> None:
        self._calls_of = calls_of
        self._callbacks = 0
        self._calls_since = 0

    def call(self) -> int:
        """Registers a model call and tells the index of its step, from 0."""
        step = self._callbacks
        if self._callbacks and self._calls_since < self._calls_of(step - 1) - 1:
            step -= 1
        self._calls_since += 1
        return step

    def callback(self) -> None:
        """Registers the sampler's callback."""
        self._callbacks += 1
        self._calls_since = 0


class CallClock(StepClock):
    """The clock of samplers whose every call is a step's, whenever they call back (UniPC calls once ahead)."""

    def __init__(self) -> None:
        super().__init__(single_calls)
        self._calls = 0

    def call(self) -> int:
        self._calls += 1
        return self._calls - 1


def second_order_calls(sigmas: list[float]) -> LastCalls:
    """Two calls per step, one where the step ends at sigma 0 (Heun, DPM2, DPM++ 2S a, DPM++ SDE)."""
    return lambda step: 1 if step + 1 >= len(sigmas) or sigmas[step + 1] == 0 else 2


def heunpp2_calls(steps: int) -> LastCalls:
    """Calls of Forge's HeunPP2: three per step, two in the last but one, one in the last."""
    return lambda step: min(max(steps - step, 1), 3)


def dpm_fast_calls(steps: int) -> LastCalls:
    """Calls of DPM fast: steps of third order, then what is left of the ``steps`` model calls."""
    third, rest = divmod(steps, 3)
    orders = [3] * (third - 1) + [2, 1] if rest == 0 else [3] * third + [rest]
    return lambda step: orders[step] if step < len(orders) else 1


def dpm_fast_steps(calls: int) -> int:
    """Steps of DPM fast for a number of model calls."""
    return calls // 3 + 1


def single_calls(step: int) -> int:
    """One call per step."""
    return 1
