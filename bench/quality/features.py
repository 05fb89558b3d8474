"""Features that the distance between two sets of pictures compares: colours, edges and their directions, at four scales.

Nothing in it is learned, and nothing of it is the judge's. Each picture becomes one vector of twelve parts, all of which weigh
the same: for each scale the distribution of its colours, of how steep its edges are, and of the directions these have.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tools import drawing, shapes

SCALES = 4
"""Each is half as large as the one before."""
COLOUR_BINS, EDGE_BINS, DIRECTIONS = 16, 12, 16
FAINTEST, STEEPEST = 0.012, 0.5
"""Slopes per pixel between which edges are told apart, on a logarithmic scale; what is fainter is no edge."""
OPPONENTS = np.array([[1 / 3, 1 / 3, 1 / 3], [1 / 2, -1 / 2, 0], [1 / 4, 1 / 4, -1 / 2]], np.float32)
"""Lightness, red against green, yellow against blue; of colours from 0 to 1."""
LOWEST = np.array([0, -0.5, -0.5], np.float32)
PARTS = 3 * SCALES
NORM_PICTURES, NORM_SEED = 128, 2024
"""Drawn pictures that say how much each part varies."""
LEAST_SPREAD = 0.3
"""Drawn areas are so even that a decoder's faint grain would else outweigh everything."""


def _spread(places: np.ndarray, weights: np.ndarray, bins: int, around: bool = False) -> np.ndarray:
    """Histograms ``(n, bins)`` of rows of ``places`` in bins, each value shared between the two nearest."""
    low = np.floor(places)
    share = (places - low) * weights
    first, second = low.astype(np.int64), low.astype(np.int64) + 1
    fit = (lambda index: index % bins) if around else (lambda index: np.clip(index, 0, bins - 1))
    row = np.arange(len(places))[:, None] * bins
    found = np.bincount((fit(first) + row).ravel(), (weights - share).ravel(), len(places) * bins)
    found += np.bincount((fit(second) + row).ravel(), share.ravel(), len(places) * bins)
    return found.reshape(len(places), bins)


def _colours(picture: np.ndarray) -> np.ndarray:
    places = (picture - LOWEST).reshape(len(picture), -1, 3) * (COLOUR_BINS - 1)
    ones = np.ones(places.shape[:2], np.float32)
    return np.concatenate([_spread(places[..., i], ones, COLOUR_BINS) for i in range(3)], 1) / places.shape[1]


def _edges(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many pixels are how steep, and where edges point to, by the structure tensor of all channels."""
    across = (picture[:, 1:-1, 2:] - picture[:, 1:-1, :-2]) / 2
    down = (picture[:, 2:, 1:-1] - picture[:, :-2, 1:-1]) / 2
    xx, yy, xy = ((first * second).sum(-1).reshape(len(picture), -1)
                  for first, second in ((across, across), (down, down), (across, down)))  # fmt: skip
    slope = np.sqrt(xx + yy)
    steps = np.log(np.maximum(slope, FAINTEST) / FAINTEST) / np.log(STEEPEST / FAINTEST) * (EDGE_BINS - 1)
    steepness = _spread(steps, np.ones_like(steps), EDGE_BINS) / steps.shape[1]
    angles = np.arctan2(2 * xy, xx - yy) / (2 * np.pi) % 1 * DIRECTIONS
    directions = _spread(angles, np.maximum(slope - FAINTEST, 0), DIRECTIONS, around=True)
    return steepness, directions / (directions.sum(1, keepdims=True) + 1e-6)


def _halved(picture: np.ndarray) -> np.ndarray:
    n, height, width, channels = picture.shape
    return picture.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def described(pictures: np.ndarray) -> list[np.ndarray]:
    """The parts of each picture, before they are made to weigh the same; roots of shares, whose noise is alike everywhere."""
    picture = np.asarray(pictures, np.float32) / 255 @ OPPONENTS.T
    parts = []
    for _ in range(SCALES):
        parts += [_colours(picture), *_edges(picture)]
        picture = _halved(picture)
    return [np.sqrt(part) for part in parts]


def drawn(count: int, seed: int, style: str = drawing.PLAIN) -> np.ndarray:
    """Pictures ``(count, H, W, 3)`` of the world as the drawer has it."""
    rng = np.random.default_rng([seed, 31])
    return np.stack([drawing.draw(shapes.realise(shapes.random_scene(rng), rng), style, rng) for _ in range(count)])


@cache
def _norm() -> tuple[tuple[np.ndarray, float], ...]:
    """Each part's mean, and how far drawn pictures are from it."""
    parts = described(drawn(NORM_PICTURES, NORM_SEED))
    return tuple((part.mean(0), max(LEAST_SPREAD, float(np.sqrt(part.var(0).sum())))) for part in parts)


def features(pictures: np.ndarray) -> np.ndarray:
    """Pictures ``(n, H, W, 3)`` of bytes to ``(n, d)``: a drawn one's length is somewhat below 1."""
    parts = [(part - mean) / spread for part, (mean, spread) in zip(described(pictures), _norm(), strict=True)]
    return (np.concatenate(parts, 1) / np.sqrt(PARTS)).astype(np.float32)
