"""Figures with intervals: kernel distance, shares, and differences of both, by the bootstrap.

A replicate is a set of weights: how often each prompt with its seed, and each drawn picture, was chosen again. All settings
share the weights, so that the difference of two settings is a difference of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

REPLICATES = 2000
LEVEL = 95


def kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``(x . y + 1)^3``, ``(n, m)``; a feature vector's length is about 1 (arXiv 1801.01401, section 4)."""
    return (first.astype(np.float64) @ second.T.astype(np.float64) + 1) ** 3


@dataclass(frozen=True)
class Weights:
    """How often each picture counts: ``(1 + replicates, n)`` for the generated, ``(1 + replicates, m)`` for the drawn.

    The first row is all ones: the figure itself.
    """

    made: np.ndarray
    drawn: np.ndarray

    @classmethod
    def chosen(cls, made: int, drawn: int, replicates: int = REPLICATES) -> Weights:
        """The same for every setting with as many pictures."""
        return cls(_chosen(made, 1, replicates), _chosen(drawn, 2, replicates))


@cache
def _chosen(count: int, seed: int, replicates: int) -> np.ndarray:
    rows = np.random.default_rng([seed, count]).multinomial(count, np.full(count, 1 / count), replicates)
    return np.concatenate([np.ones((1, count)), rows])


def _within(weights: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """Mean over pairs of different pictures: none is compared with itself, nor with its repetition."""
    squares = weights**2
    total = weights.sum(1) ** 2 - squares.sum(1)
    return (np.einsum("bi,bi->b", weights @ gram, weights) - squares @ np.diagonal(gram)) / total


def _between(first: np.ndarray, gram: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("bi,bi->b", first @ gram, second) / (first.sum(1) * second.sum(1))


class Target:
    """The drawn pictures that generated ones are compared with."""

    def __init__(self, features: np.ndarray, weights: np.ndarray) -> None:
        self.features, self._weights = features, weights
        self._own = _within(weights, kernel(features, features))

    def distances(self, features: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The unbiased squared kernel distance (`KID <https://arxiv.org/abs/1801.01401>`_, equation 4) in each replicate."""
        own = _within(weights, kernel(features, features))
        return own + self._own - 2 * _between(weights, kernel(features, self.features), self._weights)


def shares(hits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share of hits in each replicate."""
    return weights @ hits.astype(float) / weights.sum(1)


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """The middle 95% of the replicates; their first value is the figure itself."""
    low, high = np.percentile(replicates[1:], [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)
