"""The techniques that ``bench.gpu`` measures, each against plain CFG in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from bench.speed.device import CpuDevice, Replay
from bench.speed.host import BenchHost
from bench.speed.timing import Repeated, StepTimer, Times, WaitCounter, device_ms, replay_ms, wall_ms
from lib_sdfm.hosts.run import Together

REPLAYS = 8
"""How often a graph is timed."""


@contextmanager
def whole_passes(unet: nn.Module) -> Iterator[None]:
    """Give the UNet a forward of its own, as ControlNet does: then extra predictions can't share the main one's features."""
    own = unet.forward
    unet.forward = lambda *args, **kwargs: own(*args, **kwargs)
    try:
        yield
    finally:
        del unet.forward


@contextmanager
def rows_apart(unet: nn.Module) -> Iterator[None]:
    """Let perturbed rows run apart from the host's in the tail."""
    with patch.object(Together, "allows", lambda *args: False):
        yield


@dataclass(frozen=True)
class Case:
    """Something to measure.

    :param label: for the table
    :param request: SDFM's settings, ``None``: plain CFG without SDFM
    :param around: a context for the UNet
    """

    label: str
    request: dict[str, Any] | None
    around: Callable[[nn.Module], AbstractContextManager] = nullcontext


INTERVAL = {"cfg_schedule": {"schedule": "Interval"}}
FOUR = {"pag": True, "seg": True, "freeu": True, "dynamic_thresholding": True}
CASES = {
    "off": Case("off", None),
    "pag": Case("PAG, rows together", {"pag": True}),
    "pag_apart": Case("PAG, rows apart", {"pag": True}, rows_apart),
    "pag_whole": Case("PAG, whole pass", {"pag": True}, whole_passes),
    "seg": Case("SEG", {"seg": True}),
    "seg_blur": Case("SEG, blur 2^4 tokens", {"seg": {"blur": 4}}),
    "pag_seg": Case("PAG and SEG", {"pag": True, "seg": True}),
    "freeu": Case("FreeU v2", {"freeu": {"version": "2"}}),
    "thresholding": Case("dynamic thresholding", {"dynamic_thresholding": True}),
    "cfgpp": Case("CFG++", {"cfgpp": True}),
    "cfg_rescale": Case("CFG rescale", {"cfg_rescale": True}),
    "tpg": Case("TPG", {"tpg": True}),
    "pag_tpg": Case("PAG and TPG", {"pag": True, "tpg": True}),
    "nag": Case("NAG", {"nag": True}),
    "apg": Case("APG", {"apg": {"norm_threshold": 15, "momentum": -0.5}}),
    "fdg": Case("FDG", {"fdg": {"ratio": 2}}),
    "mahiro": Case("MaHiRo", {"mahiro": True}),
    "epsilon_scaling": Case("epsilon scaling", {"epsilon_scaling": True}),
    "adaptive_guidance": Case("adaptive guidance, comparing", {"adaptive_guidance": {"threshold": 1}}),
    "interval": Case("CFG schedule Interval", INTERVAL),
    "pag_adaptive": Case("PAG, adaptive", {"pag": {"adaptive": 0.1}}),
    "flow": Case("flow matching", {"flow": True}),
    "flow_zero": Case("flow matching, CFG-Zero*", {"flow": True, "cfg_zero": True}),
    "v": Case("v-prediction", {"model": {"kind": "v-prediction"}}),
    "four": Case("PAG, SEG, FreeU, thresholding", FOUR),
    "all": Case("all together", {**FOUR, **INTERVAL, "cfgpp": True, "cfg_rescale": True}),
    "original": Case("recipe original, PAG and SEG", {"recipe": "original", "pag": True, "seg": True}),
}


@dataclass
class Row:
    """Measurements of a case; times are milliseconds per step, ``None`` where nothing was measured.

    :param method: ``graph``: a denoiser call repeated as a CUDA graph; ``events``: events around each eager call; ``clock``:
        the CPU's clock around each call
    :param gpu_ms: the denoiser call on the device
    :param off_gpu_ms: plain CFG, measured in turns by the same method
    :param ratio: of the two
    :param wall_ms: a whole step by the wall clock, eager
    :param peak_mb: most memory above the weights
    :param waits_per_step: how often the step waits for the device
    :param finite: all samples are
    :param off_equal: pictures without SDFM before and after are equal bit for bit
    :param graph_equal: samples with a repeated graph in it are those without
    :param note: why there is no graph
    :param error: what went wrong
    """

    case: str
    images: int
    method: str | None = None
    gpu_ms: float | None = None
    off_gpu_ms: float | None = None
    ratio: float | None = None
    wall_ms: float | None = None
    off_wall_ms: float | None = None
    wall_ratio: float | None = None
    peak_mb: float | None = None
    waits_per_step: float | None = None
    finite: bool | None = None
    off_equal: bool | None = None
    graph_equal: bool | None = None
    note: str | None = None
    error: str | None = None

    @property
    def failed(self) -> bool:
        """True if the case broke, or broke something."""
        return self.error is not None or not self.finite or not self.off_equal

    def as_json(self) -> dict[str, Any]:
        """Return the row by name."""
        return asdict(self)


@dataclass
class Baseline:
    """Plain CFG for a number of images: its samples, and a call as a graph where the device has graphs."""

    samples: Tensor
    replay: Replay | None = None


class Measurement:
    """Measures cases on one host.

    :param counting: a host on which waits are counted, by the device's stand-in, where the device can't be asked
    :param size: of the pictures, in pixels along a side
    :param rounds: how often each run is timed
    """

    def __init__(
        self, device: CpuDevice, host: BenchHost, counting: BenchHost | None, size: int, steps: int, rounds: int
    ) -> None:
        self._device, self._host, self._counting = device, host, counting
        self._size, self._steps, self._rounds = size, steps, rounds

    def baseline(self, images: int) -> Baseline:
        """Return plain CFG for a number of images, after a first run that loads what the device needs."""
        off, kept = CASES["off"], []
        found = Baseline(self._samples(off, images))
        if self._device.can_replay:
            self._samples(off, images, Repeated(self._device, self._steps // 2, kept.append))
            found.replay = kept[0]
        return found

    def row(self, name: str, images: int, off: Baseline) -> Row:
        """Return everything about a case.

        :param off: plain CFG for as many images
        """
        case, row = CASES[name], Row(name, images)
        samples = self._measure_alone(case, row)
        row.finite = bool(samples.isfinite().all())
        row.off_equal = self._measure_in_turns(case, row, off)
        if self._device.can_replay and row.waits_per_step == 0:
            self._measure_graph(case, row, off, samples)
        elif self._device.can_replay:
            row.note = "waits for the device"
        return row

    def _samples(self, case: Case, images: int, watch: Any = None, host: BenchHost | None = None) -> Tensor:
        host = host or self._host
        with case.around(host.unet):
            return host.samples(case.request, self._size, images, self._steps, watch)

    def _measure_alone(self, case: Case, row: Row) -> Tensor:
        """Measure memory and waits in a run that isn't timed; return its samples."""
        self._device.free()
        before = self._device.allocated_mb()
        self._device.reset_peak()
        with self._device.waits() as count:
            counter = WaitCounter(count)
            samples = self._samples(case, row.images, counter)
        row.peak_mb = self._device.peak_mb() - before
        if self._counting is not None:
            counter = WaitCounter(lambda: self._counting.running_on.waits)
            self._samples(case, row.images, counter, self._counting)
        row.waits_per_step = counter.per_step()
        return samples

    def _measure_in_turns(self, case: Case, row: Row, off: Baseline) -> bool:
        """Time eager runs; return true if each run without SDFM, after one with it, gave what it gave before."""
        plain: list[Times] = []
        guided: list[Times] = []
        equal = True
        for _ in range(self._rounds):
            for what, runs in ((case, guided), (CASES["off"], plain)):
                timer = StepTimer(self._device)
                samples = self._samples(what, row.images, timer)
                runs.append(timer.times())
            equal = equal and torch.equal(samples, off.samples)
        row.method = self._device.timer
        row.gpu_ms, row.off_gpu_ms = device_ms(guided), device_ms(plain)
        row.wall_ms, row.off_wall_ms = wall_ms(guided), wall_ms(plain)
        row.ratio, row.wall_ratio = row.gpu_ms / row.off_gpu_ms, row.wall_ms / row.off_wall_ms
        return equal

    def _measure_graph(self, case: Case, row: Row, off: Baseline, samples: Tensor) -> None:
        """Time a repeated call in turns with that of plain CFG; what can't be captured keeps its eager times."""
        pairs: list[tuple[float, float]] = []

        def use(replay: Replay) -> None:
            pairs.extend(replay_ms(self._device, off.replay, replay, REPLAYS))

        repeated = None
        try:
            repeated = self._samples(case, row.images, Repeated(self._device, self._steps // 2, use))
        except Exception as problem:  # the eager times stand
            row.note = f"no graph: {said(problem)}"
        if repeated is None:
            self._device.free()
            return
        row.method = "graph"
        row.off_gpu_ms, row.gpu_ms = (statistics.median(times) for times in zip(*pairs))
        row.ratio = statistics.median(guided / plain for plain, guided in pairs)
        row.graph_equal = torch.equal(repeated, samples)


def said(problem: BaseException) -> str:
    """Return an exception as one line."""
    first_line = next(iter(str(problem).strip().splitlines()), "")
    return f"{type(problem).__name__}: {first_line}".rstrip(": ")
