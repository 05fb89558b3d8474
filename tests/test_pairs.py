"""Parameters in pairs cover what they say, and are few."""

from __future__ import annotations

import math

import pytest

from tests.pairs import covering, in_turn, meet_in_pairs


@pytest.mark.parametrize(
    "sizes", [[3], [2, 5], [2, 2, 2], [3, 27, 2], [2, 8, 2, 3], [4, 8, 3], [25, 2, 3], [3, 3, 3, 3]], ids=str
)
def test_any_two_values_meet_in_few_rows(sizes: list[int]):
    rows = covering(sizes)
    assert meet_in_pairs(rows, sizes) and len(set(rows)) == len(rows)
    least = math.prod(sorted(sizes)[-2:])
    assert least <= len(rows) <= 1.35 * least + 1


def test_in_turn_every_value_is_tried():
    given = in_turn(host={"a": 1, "b": 2}, name=["x", "y", "z"])
    assert given.args == ("host,name", [(1, "x"), (2, "y"), (1, "z")]) and given.kwargs == {"ids": ["a-x", "b-y", "a-z"]}
