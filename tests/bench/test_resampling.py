"""Kernel distance and bootstrap against plain sums over pairs."""

import numpy as np
import pytest

from bench.quality.resampling import Target, Weights, interval, kernel, shares

RNG = np.random.default_rng(0)
MADE, DRAWN = RNG.normal(0, 0.3, (7, 5)), RNG.normal(0.1, 0.3, (9, 5))


def plain_distance(first, second):
    """Equation 4 of arXiv 1801.01401, term by term."""

    def k(x, y):
        return (float(x @ y) + 1) ** 3

    own = sum(k(x, y) for i, x in enumerate(first) for j, y in enumerate(first) if i != j) / (len(first) * (len(first) - 1))
    other = sum(k(x, y) for i, x in enumerate(second) for j, y in enumerate(second) if i != j)
    between = sum(k(x, y) for x in first for y in second) / (len(first) * len(second))
    return own + other / (len(second) * (len(second) - 1)) - 2 * between


def test_the_figure_is_the_unbiased_kernel_distance():
    weights = Weights.chosen(7, 9, 3)
    assert Target(DRAWN, weights.drawn).distances(MADE, weights.made)[0] == pytest.approx(plain_distance(MADE, DRAWN))


def test_it_is_unbiased():
    """Over many pairs of sets from one distribution its mean is 0, and of shifted ones positive."""
    weights = Weights.chosen(6, 6, 1)

    def mean(shift):
        rng = np.random.default_rng(1)
        sets = [(rng.normal(0, 0.3, (6, 4)), rng.normal(shift, 0.3, (6, 4))) for _ in range(3000)]
        return np.mean([Target(second, weights.drawn).distances(first, weights.made)[0] for first, second in sets])

    assert abs(mean(0.0)) < 0.02 < mean(0.2)


def test_a_repeated_picture_is_never_compared_with_itself():
    """Weights as a bootstrap draws them: pairs of one picture with its own repetition are left out."""
    counts = np.array([2, 0, 1, 3, 0, 1, 0])
    weights = Weights(counts[None].astype(float), np.ones((1, 9)))
    gram = kernel(MADE, MADE)
    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    own = sum(counts[i] * counts[j] * gram[i, j] for i, j in pairs) / sum(counts[i] * counts[j] for i, j in pairs)
    drawn = kernel(DRAWN, DRAWN)
    other = (drawn.sum() - np.trace(drawn)) / (9 * 8)
    between = (counts @ kernel(MADE, DRAWN)).sum() / (7 * 9)
    found = Target(DRAWN, weights.drawn).distances(MADE, weights.made)[0]
    assert found == pytest.approx(own + other - 2 * between)


def test_weights_are_the_same_for_all_settings_and_keep_the_number():
    first, second = Weights.chosen(8, 12, 20), Weights.chosen(5, 12, 20)
    assert np.array_equal(first.made, Weights.chosen(8, 7, 20).made) and np.array_equal(first.drawn, second.drawn)
    assert (first.made.sum(1) == 8).all() and (first.made[0] == 1).all() and not (first.made[1:] == 1).all()


def test_the_interval_of_a_share_is_about_the_normal_one():
    hits = np.arange(400) % 4 == 0
    found = shares(hits, Weights.chosen(400, 1).made)
    low, high = interval(found)
    half = 1.96 * (0.25 * 0.75 / 400) ** 0.5
    assert found[0] == 0.25 and low == pytest.approx(0.25 - half, abs=0.01) and high == pytest.approx(0.25 + half, abs=0.01)


def test_pairs_make_a_difference_sharper():
    """Two settings that differ in few pictures: the interval of the difference is much smaller than each one's."""
    first = np.arange(200) % 2 == 0
    second = first.copy()
    second[:6] = False
    weights = Weights.chosen(200, 1).made
    low, high = interval(shares(first, weights) - shares(second, weights))
    alone = interval(shares(first, weights))
    assert low >= 0 and high - low < (alone[1] - alone[0]) / 3
