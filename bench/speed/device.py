"""Clocks, memory, waits and CUDA graphs of the device that a bench runs on: one class for CUDA, one for the CPU."""

from __future__ import annotations

import gc
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MEGABYTE = 1e6
WAITED = "called a synchronizing CUDA operation"
"""Text of torch's warning in its debug mode for synchronisation."""


@dataclass
class Replay:
    """One piece of work that can be repeated on the device without Python.

    :param output: what the work gives, written again by each repetition
    :param run: repeats it
    :param call: the work itself, kept because its inputs must stay where they are
    """

    output: Tensor
    run: Callable[[], None]
    call: Callable[[], Tensor]


class CpuDevice:
    """The CPU: work is done when a call returns, and memory is not measured."""

    torch_device = torch.device("cpu")
    timer = "clock"
    can_replay = False

    @property
    def name(self) -> str:
        """The device's name."""
        return platform.processor() or platform.machine()

    def mark(self) -> Any:
        """Return the present point of the device's work, to be given to :meth:`between`."""
        return time.perf_counter()

    def between(self, begin: Any, end: Any) -> float:
        """Return the milliseconds between two marks; the device must have reached both."""
        return (end - begin) * 1e3

    def wait(self) -> None:
        """Wait until the device has done all its work."""

    def free(self) -> None:
        """Give back memory that nobody uses."""
        gc.collect()

    def allocated_mb(self) -> float:
        """Return the memory in use now."""
        return 0.0

    def reset_peak(self) -> None:
        """Let :meth:`peak_mb` begin from the memory in use now."""

    def peak_mb(self) -> float:
        """Return the most memory that was in use since :meth:`reset_peak`."""
        return 0.0

    def capture(self, call: Callable[[], Tensor]) -> Replay:
        """Return a call of the model as work that can be repeated; it has run once."""
        raise NotImplementedError("the CPU has no graphs")

    @contextmanager
    def waits(self) -> Iterator[Callable[[], int]]:
        """Return a context that counts the waits for the device in it; it gives a function that returns the count so far."""
        yield lambda: 0


class CudaDevice(CpuDevice):
    """The current CUDA device."""

    timer = "events"
    can_replay = True

    def __init__(self) -> None:
        self.torch_device = torch.device("cuda", torch.cuda.current_device())

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.torch_device)

    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, begin: Any, end: Any) -> float:
        return begin.elapsed_time(end)

    def wait(self) -> None:
        torch.cuda.synchronize(self.torch_device)

    def free(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()

    def allocated_mb(self) -> float:
        return torch.cuda.memory_allocated(self.torch_device) / MEGABYTE

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.torch_device)

    def peak_mb(self) -> float:
        return torch.cuda.max_memory_allocated(self.torch_device) / MEGABYTE

    def capture(self, call: Callable[[], Tensor]) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = call()
        graph.replay()  # capturing computes nothing
        return Replay(output, graph.replay, call)

    @contextmanager
    def waits(self) -> Iterator[Callable[[], int]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield lambda: sum(WAITED in str(warning.message) for warning in caught)
            finally:
                torch.cuda.set_sync_debug_mode("default")


def device_for(cpu: bool) -> CpuDevice:
    """Return the device to measure on.

    :raises RuntimeError: if there is no CUDA device and the CPU wasn't asked for
    """
    if cpu:
        return CpuDevice()
    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device; --cpu runs the same on the CPU")
    return CudaDevice()
