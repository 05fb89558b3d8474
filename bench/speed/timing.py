"""Watchers of a run: its denoiser calls are timed, waits for the device counted, one call is repeated as a graph."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bench.speed.device import CpuDevice, Replay

Call = Callable[[], Tensor]
FIRST = 1
"""The first step that counts: the one before it makes what is made once per pass."""


class StepTimer:
    """Times the denoiser calls of a run on the device, and the whole steps by the wall clock."""

    def __init__(self, device: CpuDevice) -> None:
        self._device, self._marks = device, []
        self._start = 0.0

    def __call__(self, step: int, call: Call) -> Tensor:
        if step < FIRST:
            return call()
        if step == FIRST:
            self._device.wait()
            self._start = time.perf_counter()
        begin = self._device.mark()
        result = call()
        self._marks.append((begin, self._device.mark()))
        return result

    def times(self) -> Times:
        """Return the run's times; called right after it."""
        self._device.wait()
        wall = (time.perf_counter() - self._start) * 1e3 / len(self._marks)
        return Times([self._device.between(begin, end) for begin, end in self._marks], wall)


@dataclass(frozen=True)
class Times:
    """Times of one run, in milliseconds.

    :param steps: of each denoiser call, on the device
    :param wall: of a step, by the wall clock
    """

    steps: list[float]
    wall: float


def device_ms(runs: list[Times]) -> float:
    """Return the mean over the steps, as techniques may be active in some of them, of the least over the runs."""
    return statistics.mean(min(times) for times in zip(*(run.steps for run in runs)))


def wall_ms(runs: list[Times]) -> float:
    """Return the wall time of a step, the least over the runs."""
    return min(run.wall for run in runs)


@dataclass
class WaitCounter:
    """Counts the waits for the device in the steps of a run.

    :param count: gives the waits so far
    """

    count: Callable[[], int]
    _counts: list[int] = field(default_factory=list)

    def __call__(self, step: int, call: Call) -> Tensor:
        self._counts.append(self.count())
        return call()

    def per_step(self) -> float:
        """Return the waits per step, without those of the first and last one."""
        counts = self._counts[FIRST:]
        return (counts[-1] - counts[0]) / (len(counts) - 1)


class Repeated:
    """Captures one denoiser call of a run as a graph, and goes on with what it gives.

    The call is made once, so that whatever counts calls counts right.

    :param step: index of the call
    :param use: gets the graph while everything that the call needs is still there
    """

    def __init__(self, device: CpuDevice, step: int, use: Callable[[Replay], Any]) -> None:
        self._device, self._step, self._use = device, step, use

    def __call__(self, step: int, call: Call) -> Tensor:
        if step != self._step:
            return call()
        replay = self._device.capture(call)
        self._use(replay)
        return replay.output


def replay_ms(device: CpuDevice, first: Replay, second: Replay, rounds: int) -> list[tuple[float, float]]:
    """Return the milliseconds of two graphs that are repeated in turns, round by round."""
    marks = []
    for counts in (False, *[True] * rounds):
        pair = []
        for replay in (first, second):
            begin = device.mark()
            replay.run()
            pair.append((begin, device.mark()))
        if counts:
            marks.append(pair)
    device.wait()
    return [tuple(device.between(*mark) for mark in pair) for pair in marks]
