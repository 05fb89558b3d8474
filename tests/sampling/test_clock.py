"""The clock of steps, apart from any sampler."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.sampling.clock import StepClock, dpm_fast_calls, second_order_calls


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


@given(st.integers(1, 100))
def test_dpm_fast_makes_as_many_calls_as_it_was_given(calls: int):
    steps = calls // 3 + 1
    assert sum(dpm_fast_calls(calls)(step) for step in range(steps)) == calls


@pytest.mark.parametrize(("sigmas", "calls"), [([9, 3, 1, 0], [2, 2, 1]), ([9, 3, 1], [2, 2]), ([9, 0], [1])])
def test_a_second_order_step_that_ends_at_0_makes_one_call(sigmas: list[float], calls: list[int]):
    assert [second_order_calls(sigmas)(step) for step in range(len(sigmas) - 1)] == calls
