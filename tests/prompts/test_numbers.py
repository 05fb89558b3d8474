"""Meaning of the numbers in prompt edits, and the number for a given change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.prompts.edits import MARK
from lib_sdfm.prompts.numbers import ALWAYS, NEVER, Change, Timeline, is_number, plain_number

FIRST, HIRES = Timeline(20), Timeline(10, 20)


@pytest.mark.parametrize(
    ("number", "first", "hires"),
    [
        ("0", 0, 0), ("1", 2, 0), ("5", 6, 0), ("19", 20, 0), ("20", None, 0), ("21", None, 2), ("29", None, 10),
        ("30", None, None), ("0.5", 11, 0), ("0.04", 0, 0), ("1.0", None, 0), ("1.5", None, 6), ("2.0", None, None),
        ("-3", 0, 0), (NEVER, None, None), (ALWAYS, 0, 0),
    ],
)  # fmt: skip
def test_the_first_call_with_the_second_text(number: str, first: int | None, hires: int | None):
    """As seen in A1111 1.10.1: ``[a:b:K]`` is ``b`` from call K + 1 on, and always for 0."""
    assert (FIRST.change(number), HIRES.change(number)) == (first, hires)


def test_old_timelines_need_no_point_and_count_each_pass_from_0():
    old = Timeline(20, old=True)
    assert [old.change(number) for number in ("0.5", "5", "1.0", "0")] == [11, 6, 2, 0]


@given(st.integers(1, 60), st.integers(0, 61) | st.none())
def test_every_change_but_one_at_call_1_has_a_number(calls: int, call: int | None):
    change = Change(Timeline(calls), call, calls)
    number = plain_number(MARK, [change])
    if call == 1 or (call is not None and call > calls):
        assert number is None
    else:
        assert number is not None and Timeline(calls).change(number) == call


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 40) | st.none(), st.booleans())
def test_a_change_in_the_hires_pass_alone_has_one_number_for_both(calls: int, hires: int, call: int | None, old: bool):
    first = Change(Timeline(calls, old=old), None, calls)
    second = Change(Timeline(calls, old=True) if old else Timeline(hires, calls), call, hires)
    number = plain_number(MARK, [first, second])
    assert number is None or (first.is_at(number) and second.is_at(number))
    if not old and call != 1 and (call is None or call <= hires):
        assert number is not None


def test_changes_in_both_passes_have_none_together():
    assert plain_number(MARK, [Change(FIRST, 5, 20), Change(HIRES, 3, 10)]) is None
    assert plain_number(MARK, [Change(FIRST, 0), Change(HIRES, 0)]) == "0"


def test_a_number_that_means_the_change_already_is_kept():
    assert plain_number("0.5", [Change(FIRST, 11, 20)]) == "0.5"
    assert plain_number("0.5", [Change(FIRST, 12, 20)]) == "11"


def test_more_calls_than_the_host_expects_have_no_number():
    """DPM adaptive: past the expected calls the host shows the first text again."""
    assert plain_number(MARK, [Change(FIRST, 12, 40)]) is None
    assert plain_number(MARK, [Change(FIRST, 12, 21)]) == "11"
    assert plain_number(MARK, [Change(FIRST, 0, 40)]) == "0"


@pytest.mark.parametrize(
    ("when", "value", "equal"),
    [
        ("0.5", 0.5, True), (".5", 0.5, True), ("0.50", 0.5, True), ("1.0", 1, True), ("0", 0, True), ("0.0", 0.0, True),
        ("1", 1, False), ("5", 0.5, False), ("0.51", 0.5, False), ("0.5", None, False), (MARK, 0.5, False),
        ("1e-1", 0.1, False),
    ],
)  # fmt: skip
def test_shares_equal_switch_at_and_steps_do_not(when: str, value: float | None, equal: bool):
    assert is_number(when, value) is equal
