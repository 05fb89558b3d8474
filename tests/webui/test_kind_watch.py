"""Detect while it runs: progress, interrupt, time limit."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.ops.flow_probe import recognise
from sdfm_webui.kind_watch import JOB, DetectWatch, outcome, result_of, told


class State(SimpleNamespace):
    """The host's state."""

    def __init__(self) -> None:
        super().__init__(job="", job_count=0, interrupted=False, skipped=False, sampling_step=0, sampling_steps=0)

    def begin(self, job: str) -> None:
        self.job, self.interrupted = job, False

    def end(self) -> None:
        self.job, self.job_count = "", 0


def ask(watch: DetectWatch, **more: Any) -> int:
    """Detect a model that returns what it is given; return the number of calls."""
    calls = []
    with watch.running():
        recognise(lambda x, times: calls.append(1) or more.get("at", lambda number: None)(len(calls)) or x, watch=watch)
    return len(calls)


def test_the_host_s_state_shows_it_and_is_free_afterwards():
    state = State()
    watch, seen = DetectWatch(lambda: state), []
    assert "waiting" in watch.progress()
    calls = ask(watch, at=lambda number: seen.append((state.job, state.sampling_step, watch.progress())))
    assert seen[2] == (JOB, 2, "Detect: UNet call 3 of at most 28.") and calls <= 28
    assert state.job == "" and "waiting" in watch.progress()


def test_the_host_s_interrupt_ends_it():
    state = State()
    watch = DetectWatch(lambda: state)
    with pytest.raises(UnsupportedError, match="Detect: interrupted"):
        ask(watch, at=lambda number: setattr(state, "interrupted", number == 3))
    assert state.sampling_step == 3 and state.job == ""


def test_stop_ends_it_and_counts_once():
    watch = DetectWatch(State)
    assert "Nothing" in watch.stop()
    state = State()
    watch = DetectWatch(lambda: state)
    with pytest.raises(UnsupportedError, match="Detect: interrupted"):
        ask(watch, at=lambda number: watch.stop() and None)
    assert ask(watch) > 1


def test_it_is_given_up_after_the_limit():
    state, clock = State(), iter(range(0, 1000, 7))
    with pytest.raises(UnsupportedError, match=r"gave up after 20 s, at UNet call 2 of at most 28"):
        ask(DetectWatch(lambda: state, limit=20, now=lambda: next(clock)))
    assert state.job == ""


def test_progress_is_told_until_the_answer():
    release = threading.Event()

    def action() -> str:
        release.wait(10)
        return "found"

    lines = []
    for line in told(action, lambda: "at work"):
        lines.append(line)
        release.set()
    assert lines[0] == "at work" and lines[-1] == "found"


def test_exceptions_pass_a_thread_that_swallows_them():
    assert result_of(outcome(int, "3")) == 3
    with pytest.raises(ValueError):
        result_of(outcome(int, "x"))
