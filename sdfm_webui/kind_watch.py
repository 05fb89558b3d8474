"""The detection of a model's kind while it runs: its progress, its end by the user, and its time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from lib_sdfm.errors import UnsupportedError

JOB = "SDFM Detect"
POLL = 0.5
"""Seconds between two looks at the progress."""


class DetectWatch:
    """Follows a detection, in the host's state as well: there its API shows it, and its "Interrupt" ends it.

    :param state: returns the host's ``shared.state``
    :param limit: seconds after which it is given up
    :param now: the clock
    """

    def __init__(self, state: Callable[[], Any], limit: float = 120, now: Callable[[], float] = time.monotonic) -> None:
        self._state, self._limit, self._now = state, limit, now
        self._began: float | None = None
        self._stopped = False
        self._done: tuple[int, int] | None = None

    def __call__(self, call: int, most: int) -> None:
        """Note that the UNet is about to be called.

        :raises UnsupportedError: if the user has ended the detection, or it takes too long
        """
        state = self._state()
        self._done = call, most
        state.sampling_step, state.sampling_steps = call, most
        if self._stopped or state.interrupted or getattr(state, "skipped", False):
            raise UnsupportedError("Detect: interrupted. Nothing was found, and nothing has changed")
        if self._began is not None and self._now() - self._began > self._limit:
            raise UnsupportedError(
                f"Detect: gave up after {self._limit:g} s, at UNet call {call} of at most {most}. Choose the kind that "
                "the checkpoint's author states"
            )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Return the context of one detection, entered when nothing else uses the model."""
        state = self._state()
        state.begin(job=JOB)
        state.job_count = 1
        self._began = self._now()
        try:
            yield
        finally:
            self._began, self._done, self._stopped = None, None, False
            state.end()

    def stop(self) -> str:
        """End the detection at the UNet's next call; return what is done, in words."""
        self._stopped = self._began is not None
        return "Detect stops after the current UNet call." if self._stopped else "Nothing is being detected."

    def progress(self) -> str:
        """Return how far it is, in words."""
        if self._began is None:
            return "Detect is waiting for the current picture to finish."
        if self._done is None:
            return "Detect is starting."
        call, most = self._done
        return f"Detect: UNet call {call + 1} of at most {most}."


def told(action: Callable[[], str], progress: Callable[[], str]) -> Iterator[str]:
    """Return what an action returns, preceded by its progress while it runs."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(action)
        while not wait([answer], POLL).done:
            yield progress()
    yield answer.result()


def outcome(function: Callable[..., Any], *args: Any) -> tuple[Any, Exception | None]:
    """Return a function's result and no exception, or its exception: for threads of a host that swallow exceptions."""
    try:
        return function(*args), None
    except Exception as problem:
        return None, problem


def result_of(found: tuple[Any, Exception | None]) -> Any:
    """Return the result of :func:`outcome`, or raise its exception."""
    result, problem = found
    if problem is not None:
        raise problem
    return result
