"""Parameters of tests whose product would take too long: any two values meet, not any three; or each is tried once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, product
from typing import Any

import pytest


def covering(sizes: list[int]) -> list[tuple[int, ...]]:
    """Return places along several axes such that any two places of different axes meet in a row.

    There are about as many rows as the product of the two longest axes has. Greedy: each row takes the place that has most to
    meet still. Always the same for the same sizes.

    :param sizes: how many places each axis has
    """
    order = sorted(range(len(sizes)), key=lambda axis: -sizes[axis])
    rows = [[place] for place in range(sizes[order[0]])]
    for number, axis in enumerate(order[1:], start=1):
        places = range(sizes[axis])
        due = {(other, at, place) for other in range(number) for at in range(sizes[order[other]]) for place in places}
        for row in rows:
            row.append(max(places, key=lambda place: (len(_met(row, place) & due), -place)))
            due -= _met(row[:-1], row[-1])
        while due:
            place = min(due)[2]
            row = [
                min((at for other, at, by in due if (other, by) == (earlier, place)), default=0) for earlier in range(number)
            ]
            due -= _met(row, place)
            rows.append([*row, place])
    return [tuple(row[order.index(axis)] for axis in range(len(sizes))) for row in rows]


def _met(row: list[int], place: int) -> set[tuple[int, int, int]]:
    return {(axis, at, place) for axis, at in enumerate(row)}


def in_pairs(**axes: Iterable[Any] | Mapping[str, Any]) -> pytest.MarkDecorator:
    """Parametrize a test with values of several arguments such that any two of different arguments meet.

    :param axes: the values of each argument; of a mapping its values, its keys are their names
    """
    named = [list(given.items()) if isinstance(given, Mapping) else [(str(v), v) for v in given] for given in axes.values()]
    places = sorted(covering([len(values) for values in named]))
    rows = [[values[place] for values, place in zip(named, row)] for row in places]
    ids = ["-".join(name for name, _ in row) for row in rows]
    return pytest.mark.parametrize(",".join(axes), [tuple(value for _, value in row) for row in rows], ids=ids)


def in_turn(**axes: Iterable[Any] | Mapping[str, Any]) -> pytest.MarkDecorator:
    """Parametrize a test with each value of the longest argument once, and of the others in turn.

    For what depends on one of them: another only has to be tried as well.

    :param axes: as in :func:`in_pairs`
    """
    named = [list(given.items()) if isinstance(given, Mapping) else [(str(v), v) for v in given] for given in axes.values()]
    rows = [[values[number % len(values)] for values in named] for number in range(max(map(len, named)))]
    ids = ["-".join(name for name, _ in row) for row in rows]
    return pytest.mark.parametrize(",".join(axes), [tuple(value for _, value in row) for row in rows], ids=ids)


def meet_in_pairs(rows: list[tuple[int, ...]], sizes: list[int]) -> bool:
    """Return True if any two places of different axes meet in a row."""
    return all(
        {(row[one], row[other]) for row in rows} == set(product(range(sizes[one]), range(sizes[other])))
        for one, other in combinations(range(len(sizes)), 2)
    )
