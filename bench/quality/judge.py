"""Says what is in a picture of shapes, and whether it is what the caption promised. No learning in it.

Objects are connected regions unlike the border's colour; a region's colour is its core's, its shape is told by its moments
about its centre: turned three, four or five times they are large for triangle, square and star, and none is for the circle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy import ndimage

from tools import drawing, shapes
from tools.shapes import ARRANGEMENTS, COLOURS, COUNTS, PLACES, RADII, SIZE, THIRD, Group, Scene

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
ALIKE = 1.2
"""Largest radius of a kind, as a multiple of its smallest, at which its shapes are of one size."""
ASTRAY = 5.0
"""Pixels by which a shape may miss the place that an arrangement gives it."""
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
    """The content of a picture."""

    objects: tuple[Found, ...]
    background: str | None


@dataclass(frozen=True)
class Verdict:
    """Parts of a promise that were kept; ``None`` where nothing was promised."""

    count: bool
    shape: bool
    """No other shapes occur, and none of the promised ones is missing; how many is asked elsewhere."""
    colour: bool
    background: bool | None
    size: bool | None
    place: bool | None
    bound: bool
    """Each shape has its own colour, and there are as many of each as promised."""
    alike: bool | None
    """The parts agree: there are as many kinds of shapes as promised, whichever they are, and those of a kind have one size."""
    arranged: bool | None
    """They stand as promised: in a row, mirrored and so on."""

    @property
    def kept(self) -> bool:
        """The right objects, on the right background, and they agree with each other. Size and place are judged apart."""
        return self.bound and False not in (self.background, self.alike, self.arranged)


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
    """Return the object that a region is; ``corner``: of its window."""
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
    """Return the content of a picture ``(H, W, 3)`` of bytes."""
    picture = np.asarray(picture, float)
    scale = picture.shape[0] / SIZE
    background = _border(picture)
    away = np.linalg.norm(picture - background, axis=-1)
    objects = tuple(
        _found(picture[window], mask, np.array([part.start for part in window]), scale) for window, mask in _regions(away)
    )
    washed = np.concatenate([PALETTE, PALETTE * 0.8 + drawing.PAPER * 0.2])
    return Judgement(objects, _nearest(background, washed))


def kinds_of(objects: Sequence[Found]) -> dict[tuple[str | None, str | None], list[Found]]:
    """Objects by shape and colour."""
    kinds: dict[tuple[str | None, str | None], list[Found]] = {}
    for found in objects:
        kinds.setdefault((found.shape, found.colour), []).append(found)
    return kinds


def of_one_size(objects: Sequence[Found]) -> bool:
    """True if all of a kind have one size."""
    radii = [[found.radius for found in kind] for kind in kinds_of(objects).values()]
    return all(max(kind) <= ALIKE * min(kind) for kind in radii)


def _even(places: np.ndarray) -> bool:
    """True if numbers, once sorted, are equally far apart."""
    steps = np.diff(np.sort(places))
    return len(steps) == 0 or np.ptp(steps) <= 2 * ASTRAY


def _in_row(objects: Sequence[Found], across: str = "x", down: str = "y") -> bool:
    """True if all stand at one height, equally far apart."""
    places, heights = (np.array([getattr(found, axis) for found in objects]) for axis in (across, down))
    return bool(np.ptp(heights) <= 2 * ASTRAY and _even(places))


def _in_two_rows(objects: Sequence[Found]) -> bool:
    half = len(objects) // 2
    by_height = sorted(objects, key=lambda found: found.y)
    rows = by_height[:half], by_height[half:]
    places = [np.sort([found.x for found in row]) for row in rows]
    return len(objects) % 2 == 0 and all(map(_in_row, rows)) and bool(np.abs(places[0] - places[1]).max() <= 2 * ASTRAY)


def _pairs(objects: Sequence[Found]) -> list[list[Found]]:
    """The two kinds, of two objects each; empty if these are others."""
    pairs = list(kinds_of(objects).values())
    return pairs if [len(pair) for pair in pairs] == [2, 2] else []


def _mirrored(objects: Sequence[Found]) -> bool:
    pairs = _pairs(objects)
    middles = [(pair[0].x + pair[1].x) / 2 - SIZE / 2 for pair in pairs]
    return bool(pairs) and all(map(_in_row, pairs)) and max(map(abs, middles)) <= ASTRAY


def _crosswise(objects: Sequence[Found]) -> bool:
    """True if the two kinds stand on the diagonals of a grid of two by two."""
    slopes = [np.sign((pair[0].x - pair[1].x) * (pair[0].y - pair[1].y)) for pair in _pairs(objects) if _oblique(*pair)]
    return len(slopes) == 2 and _in_two_rows(objects) and slopes[0] == -slopes[1]


def _oblique(one: Found, other: Found) -> bool:
    return min(abs(one.x - other.x), abs(one.y - other.y)) > 2 * ASTRAY


STANDS: dict[str, Callable[[Sequence[Found]], bool]] = {
    shapes.ROW: _in_row,
    shapes.COLUMN: lambda objects: _in_row(objects, "y", "x"),
    shapes.TWO_ROWS: _in_two_rows,
    shapes.MIRRORED: _mirrored,
    shapes.CROSSWISE: _crosswise,
}
"""Tells if objects, at least two, stand as an arrangement has it."""


def parts_agree(objects: Sequence[Found]) -> bool:
    """True if objects could be those of a drawn picture, whatever their shapes and colours are.

    That is, one kind or two that differ in both, those of a kind of one size, and as many and standing as some are drawn.
    """
    found = kinds_of(objects)
    kinds = sorted(map(len, found.values()))
    if not of_one_size(objects) or any(len(set(part)) != len(found) for part in zip(*found)):
        return False
    if len(kinds) == 1:
        return kinds[0] in COUNTS and (kinds[0] < min(ARRANGEMENTS[shapes.TWO_ROWS]) or _in_two_rows(objects))
    return kinds in ([1, 1], [1, 2]) or (kinds == [2, 2] and (_mirrored(objects) or _crosswise(objects)))


def is_of_world(seen: Judgement) -> bool:
    """True if a picture could be one of the drawn ones: known shapes and colours that agree, on a known background."""
    known = all(found.shape and found.colour for found in seen.objects)
    return known and seen.background is not None and parts_agree(seen.objects)


def _size_is_right(group: Group, found: Found) -> bool:
    away = [max(low - found.radius, found.radius - high, 0.0) for low, high in RADII.values()]
    return list(RADII)[int(np.argmin(away))] == group.size


def _place_is_right(group: Group, found: Found) -> bool:
    away = (np.array([found.x, found.y]) - SIZE / 2) / THIRD
    return tuple(np.clip(np.round(away), -1, 1).astype(int)) == PLACES[group.place]


def _is_of(group: Group, found: Found) -> bool:
    """True if an object may be one of a group; what is unsaid may be anything that is known."""
    pairs = ((group.shape, found.shape), (group.colour, found.colour))
    return all(got is not None and said in (None, got) for said, got in pairs)


def _bound(scene: Scene, objects: Sequence[Found]) -> bool:
    """True if each group is there, as a kind of its own, and nothing else."""
    kinds = list(kinds_of(objects).values())
    return len(kinds) == len(scene.groups) and any(
        all(len(kind) == group.count and _is_of(group, kind[0]) for group, kind in zip(scene.groups, order))
        for order in permutations(kinds)
    )


def judge(picture: np.ndarray, scene: Scene) -> Verdict:
    """Compares a picture with what was promised."""
    seen = look(picture)
    objects = seen.objects

    def same(part: str) -> bool:
        said, got = ({getattr(thing, part) for thing in things} for things in (scene.groups, objects))
        return None not in got and said - {None} <= got and len(got) == len(said)

    bound = _bound(scene, objects)
    of_groups = [(group, found) for group in scene.groups for found in objects if _is_of(group, found)]
    sized = [_size_is_right(*pair) for pair in of_groups if pair[0].size]
    placed = [_place_is_right(*pair) for pair in of_groups if pair[0].place]
    several = scene.total > 1
    return Verdict(
        count=scene.total == len(objects),
        shape=same("shape"),
        colour=same("colour"),
        background=None if scene.background is None else seen.background == scene.background,
        size=all(sized) if sized and bound else None,
        place=all(placed) if placed and bound else None,
        bound=bound,
        alike=(len(kinds_of(objects)) == len(scene.groups) and of_one_size(objects)) if several else None,
        arranged=(len(objects) > 1 and STANDS[scene.arrangement](objects)) if scene.arrangement else None,
    )
