"""The clock of steps, apart from any sampler."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.sampling.clock import StepClock


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_calls_of_a_step_have_its_index_where_the_callback_follows_the_first(calls: list[int]):
    clock, told, expected = StepClock(lambda step: calls[step]), [], []
    for step, count in enumerate(calls):
        for call in range(count):
            told.append(clock.call())
            expected.append(step)
            if call == 0:
                clock.callback()
    assert told == expected


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_calls_of_a_step_have_its_index_where_the_callback_ends_it(calls: list[int]):
    clock, told, expected = StepClock(lambda step: 1), [], []
    for step, count in enumerate(calls):
        told += [clock.call() for _ in range(count)]
        expected += [step] * count
        clock.callback()
    assert told == expected
