"""Says what is in a picture of shapes, and whether it is what the caption promised. No learning in it.

Objects are connected regions unlike the border's colour; a region's colour is its core's, its shape is told by its moments
about its centre: turned three, four or five times they are large for triangle, square and star, and none is for the circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tools import drawing
from tools.shapes import COLOURS, PLACES, RADII, SIZE, THIRD, Group, Scene

UNLIKE = 42.0
"""Distance from the background's colour, as a length in RGB, at which something else begins."""
SMALLEST = 0.004
"""Share of the picture below which a region is a speck."""
RIM = 3.5
"""Pixels at a region's edge that don't count for its colour: antialiasing, outlines."""
OUTLINE = 1.7
"""Pixels by which an ink outline makes a shape larger."""
NO_COLOUR = 85.0
"""Distance from all known colours at which a colour is none of them."""
CONTRAST = 0.45
"""Share of a region's distance from the background's colour at which it ends: blurred edges must not join two objects."""
ROUND = 0.45
"""A shape whose moments are all below this share of the perfect shapes' is a circle."""
CLEAR = 0.75
"""The second largest share must be below this part of the largest."""
LONG, SPREAD = 0.43, 0.7
"""Second moment of a shape that is called long, and largest spread of a circle: perfect ones have 0 and 0.64."""
PALETTE = np.array(list(COLOURS.values()), float)


@dataclass(frozen=True)
class Found:
    """One object; ``None`` for what is no known colour or shape. Pixels of a picture of the trained size."""

    shape: str | None
    colour: str | None
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Judgement:
    """What a picture holds."""

    objects: tuple[Found, ...]
    background: str | None


@dataclass(frozen=True)
class Verdict:
    """What of a promise was kept; ``None`` where nothing was promised."""

    count: bool
    shape: bool
    """No other shapes occur, and none of the promised ones is missing; how many is asked elsewhere."""
    colour: bool
    background: bool | None
    size: bool | None
    place: bool | None
    bound: bool
    """Each shape has its own colour, and there are as many of each as promised."""

    @property
    def kept(self) -> bool:
        """The right objects, on the right background. Size and place are judged apart."""
        return self.bound and self.background is not False


def _nearest(colour: np.ndarray, palette: np.ndarray) -> str | None:
    distances = np.linalg.norm(palette - colour, axis=1)
    return list(COLOURS)[int(distances.argmin()) % len(COLOURS)] if distances.min() < NO_COLOUR else None


def _border(picture: np.ndarray) -> np.ndarray:
    ring = np.concatenate([picture[:3].reshape(-1, 3), picture[-3:].reshape(-1, 3), picture[:, :3].reshape(-1, 3),
                           picture[:, -3:].reshape(-1, 3)])  # fmt: skip
    return np.median(ring, 0)


def features(mask: np.ndarray) -> np.ndarray:
    """Moments of a region that neither place, size nor turning changes: five numbers.

    How far it is spread, and of its second to fifth power of ``x + iy`` about the centre the share that doesn't cancel out.
    """
    y, x = np.nonzero(mask)
    z = (x - x.mean()) + 1j * (y - y.mean())
    spread = (np.abs(z) ** 2).mean() / len(z)
    turned = [np.abs((z**n).mean()) / (np.abs(z) ** n).mean() for n in (2, 3, 4, 5)]
    return np.array([spread * 4, *turned])


def _perfect() -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Features of the perfect shapes, and their areas for a radius of 1."""
    place = np.arange(-64, 64) + 0.5
    masks = {name: measure(place[None, :], place[:, None], 40.0) < 0 for name, measure in drawing.DISTANCES.items()}
    return {name: features(mask) for name, mask in masks.items()}, {name: mask.sum() / 40.0**2 for name, mask in masks.items()}


FEATURES, AREAS = _perfect()
PERFECT = (FEATURES["triangle"][2], FEATURES["square"][3], FEATURES["star"][4])
"""The third moment of the triangle, the fourth of the square, the fifth of the star."""


def shape_of(mask: np.ndarray) -> str | None:
    """The shape of a region without holes."""
    spread, *turned = features(mask)
    shares = np.array(turned) / (LONG, *PERFECT)
    second, largest = np.sort(shares)[-2:]
    if largest < ROUND:
        return "circle" if spread < SPREAD else None
    kind = int(shares.argmax())
    return None if kind == 0 or second > CLEAR * largest else ("triangle", "square", "star")[kind - 1]


def _colours(picture: np.ndarray, mask: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Of a region's core and of its rim: medians, of the core only the bright pixels: hatching is left out."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    core = picture[depth > min(RIM * scale, 0.6 * depth.max())]
    bright = core.max(1)
    rim = picture[mask & (depth > 1 * scale) & (depth < 2.5 * scale)]
    rim = rim if len(rim) else core  # a region one pixel thin
    return np.median(core[bright >= 0.75 * np.percentile(bright, 90)], 0), np.median(rim, 0)


def _found(picture: np.ndarray, mask: np.ndarray, corner: np.ndarray, scale: float) -> Found:
    """What a region is; ``corner``: of its window."""
    shape = shape_of(mask)
    core, rim = _colours(picture, mask, scale)
    radius = float((mask.sum() / AREAS.get(shape, np.pi)) ** 0.5 / scale)
    outlined = core.max() - rim.max() > UNLIKE
    y, x = (corner + ndimage.center_of_mass(mask)) / scale
    return Found(shape, _nearest(core, PALETTE), float(x), float(y), radius - OUTLINE * outlined)


def _regions(away: np.ndarray) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Where objects are: windows, and masks in them without holes, from each pixel's distance from the background's colour."""
    labels, count = ndimage.label(away > UNLIKE)
    for number in range(1, count + 1):
        inside = labels == number
        finer, _ = ndimage.label(inside & (away > CONTRAST * np.median(away[inside])))
        for part, window in enumerate(ndimage.find_objects(finer), start=1):
            mask = ndimage.binary_fill_holes(finer[window] == part)
            if mask.sum() >= SMALLEST * away.size:
                yield window, mask


def look(picture: np.ndarray) -> Judgement:
    """What is in a picture ``(H, W, 3)`` of bytes."""
    picture = np.asarray(picture, float)
    scale = picture.shape[0] / SIZE
    background = _border(picture)
    away = np.linalg.norm(picture - background, axis=-1)
    objects = tuple(
        _found(picture[window], mask, np.array([part.start for part in window]), scale) for window, mask in _regions(away)
    )
    washed = np.concatenate([PALETTE, PALETTE * 0.8 + drawing.PAPER * 0.2])
    return Judgement(objects, _nearest(background, washed))


def _size_is_right(group: Group, found: Found) -> bool:
    away = [max(low - found.radius, found.radius - high, 0.0) for low, high in RADII.values()]
    return list(RADII)[int(np.argmin(away))] == group.size


def _place_is_right(group: Group, found: Found) -> bool:
    away = (np.array([found.x, found.y]) - SIZE / 2) / THIRD
    return tuple(np.clip(np.round(away), -1, 1).astype(int)) == PLACES[group.place]


def judge(picture: np.ndarray, scene: Scene) -> Verdict:
    """Compares a picture with what was promised."""
    seen = look(picture)
    wanted = Counter({(group.shape, group.colour): group.count for group in scene.groups})
    got = Counter((found.shape, found.colour) for found in seen.objects)

    def same(part: int) -> bool:
        return {pair[part] for pair in wanted} == {pair[part] for pair in got}

    bound = wanted == got
    of_groups = [(group, found) for group in scene.groups for found in seen.objects if group.shape == found.shape]
    sized = [_size_is_right(*pair) for pair in of_groups if pair[0].size] if wanted.total() == 1 else []
    placed = [_place_is_right(*pair) for pair in of_groups if pair[0].place]
    return Verdict(
        count=wanted.total() == got.total(),
        shape=same(0),
        colour=same(1),
        background=None if scene.background is None else seen.background == scene.background,
        size=all(sized) if sized and bound else None,
        place=all(placed) if placed and bound else None,
        bound=bound,
    )
