"""Draws scenes: signed distances to the shapes, antialiased."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tools.shapes import COLOURS, SHAPES, SIZE, STYLES, Drawn, Item

PLAIN, INK = "plain", "ink"
PAPER = np.array((250, 243, 226), np.float32)
BLACK = np.float32(22)
STAR_OUTER, STAR_INNER = 1.45, 0.62
TRIANGLE = 1.33
"""Distance of a corner from the centre, for a radius of 1."""
SQUARE = 0.89
PALETTE = np.array(list(COLOURS.values()), np.float32)
OFF = 4.0
"""Deviation of a colour from the exact one, as paint has."""
LIGHT = np.float32(26)
HATCHING = 8
"""Pixels between two lines."""


def _circle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return np.sqrt(x * x + y * y) - radius


def _square(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - radius * SQUARE


def _triangle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Point up; its centre of mass is the centre."""
    slanted = np.abs(x) * math.cos(math.pi / 6) - y * math.sin(math.pi / 6)
    return np.maximum(slanted, y) - radius * TRIANGLE / 2


def _star(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Five points, one up: the line from a point to the notch beside it, folded around."""
    half = math.pi / 5
    angle = np.abs(np.arctan2(x, -y)) % (2 * half)
    angle = np.minimum(angle, 2 * half - angle)
    distance = np.sqrt(x * x + y * y)
    edge = (STAR_INNER * math.cos(half) - STAR_OUTER, STAR_INNER * math.sin(half))
    along, across = distance * np.cos(angle) - radius * STAR_OUTER, distance * np.sin(angle)
    return (along * edge[1] - across * edge[0]) / math.hypot(*edge)


DISTANCES = dict(zip(SHAPES, (_circle, _square, _triangle, _star), strict=True))


def _paint(colour: int, rng: np.random.Generator) -> np.ndarray:
    return PALETTE[colour] + rng.normal(0, OFF, 3).astype(np.float32)


def _wave(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How far a hand draws beside the line, in pixels; smooth."""
    turns = rng.uniform(0, 2 * math.pi, 4)
    return 0.9 * (np.sin(x / 7 + turns[0]) * np.sin(y / 9 + turns[1]) + np.sin(x / 13 + turns[2]) * np.sin(y / 11 + turns[3]))


def _mix(picture: np.ndarray, other: np.ndarray, share: np.ndarray) -> None:
    """Blends into ``picture`` itself; ``share`` is cut to 0..1."""
    picture += (other - picture) * np.clip(share, 0, 1)[..., None]


def _put(picture: np.ndarray, item: Item, ink: bool, shaded: bool, rng: np.random.Generator) -> None:
    """One object, inside the window that it reaches."""
    shape, colour, centre_x, centre_y, radius = item
    reach = radius * STAR_OUTER + 4
    left, top = max(0, int(centre_x - reach)), max(0, int(centre_y - reach))
    window = picture[top : int(centre_y + reach) + 1, left : int(centre_x + reach) + 1]
    x = np.arange(window.shape[1], dtype=np.float32)[None, :] + (left + 0.5)
    y = np.arange(window.shape[0], dtype=np.float32)[:, None] + (top + 0.5)
    across, down = x - np.float32(centre_x), y - np.float32(centre_y)
    distance = DISTANCES[SHAPES[shape]](across, down, np.float32(radius))
    fill = _paint(colour, rng)
    if shaded:
        fill = fill - ((across + down) * (LIGHT / np.float32(radius)))[..., None]
    if ink:
        distance = distance + (_wave(x, y, rng) * min(radius / 22, 1)).astype(np.float32)
        fill = np.where((np.abs((x + y) % HATCHING - HATCHING / 2) < 1)[..., None], fill * 0.62, fill)
    _mix(window, fill, 0.5 - distance)
    if ink:
        _mix(window, BLACK, 2.2 - np.abs(distance + 0.5))


def draw(scene: Drawn, style: str, rng: np.random.Generator) -> np.ndarray:
    """One picture, ``(SIZE, SIZE, 3)`` bytes.

    :param style: ``plain`` or ``ink``
    """
    if style not in (PLAIN, INK):
        raise ValueError(f"no style {style!r}: {PLAIN}, {INK}")
    background = _paint(scene.background, rng)
    if style == INK:
        background = background * 0.8 + PAPER * 0.2
    picture = np.broadcast_to(background.astype(np.float32), (SIZE, SIZE, 3)).copy()
    for item in scene.objects:
        _put(picture, item, style == INK, STYLES[scene.style] == "shaded", rng)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def sheet(pictures: Sequence[np.ndarray], columns: int = 8) -> np.ndarray:
    """Pictures of one size in rows, as one picture."""
    blank = [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    cells = [*pictures, *blank]
    return np.concatenate([np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)], 0)
