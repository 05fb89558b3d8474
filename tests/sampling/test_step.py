"""Windows of steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.sampling.model_call import HostCounters, Interval, ModelCall

numbers = st.integers(0, 200)


def step(index: int, lagging: int = 0) -> ModelCall:
    return ModelCall(index, total=None, sigma=1.0, timestep=500.0, host=HostCounters(lagging=lagging))


@given(numbers, st.integers(0, 149), numbers)
def test_both_ends_belong_to_a_window(start: int, end: int, index: int):
    assert Interval(start, end).contains(step(index)) == (start <= index <= end)


@given(numbers, st.integers(150, 3000), st.integers(0, 5000))
def test_an_end_of_150_or_more_means_to_the_end(start: int, end: int, index: int):
    assert Interval(start, end).contains(step(index)) == (index >= start)


@given(numbers, numbers, numbers, numbers)
def test_recipe_original_looks_at_the_hosts_counter_and_takes_150_at_its_word(start: int, end: int, index: int, lagging: int):
    assert Interval(start, end).contains_lagging(step(index, lagging)) == (start <= lagging <= end)
