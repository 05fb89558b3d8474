"""The world of the shapes models: what a picture holds, and how it is said in plain words.

A scene is one or two kinds of coloured shapes on a plain background. All shapes of a kind are alike, and many stand in rows or
mirror each other; captions leave out what may be left out, a shape or a colour too. So the parts of a picture have to agree
with each other, not with the caption alone, and models learn each word by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

SIZE = 128
"""Pixels of a picture's side."""
COLOURS = {
    "red": (215, 40, 45), "orange": (245, 140, 35), "yellow": (250, 220, 60), "green": (50, 165, 75),
    "blue": (45, 90, 215), "purple": (140, 60, 175), "white": (245, 245, 245), "black": (25, 25, 28),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star")
STYLES = ("flat", "shaded")
RADII = {"small": (11.0, 11.5), "medium": (15.5, 16.5), "large": (24.5, 26.0)}
"""Pixels, of the circle; other shapes have about its area."""
GRID = 8
"""Pixels between the places where a shape's centre may be: as far apart as values of a latent."""
COUNTS = {1: "a", 2: "two", 3: "three", 4: "four", 6: "six"}
PLACES = {
    "on the left": (-1, 0), "on the right": (1, 0), "at the top": (0, -1), "at the bottom": (0, 1), "in the middle": (0, 0),
    "at the top left": (-1, -1), "at the top right": (1, -1), "at the bottom left": (-1, 1), "at the bottom right": (1, 1),
}  # fmt: skip
"""To the right and downwards, in steps of ``THIRD``. A place with one direction leaves the other near the middle."""
THIRD = SIZE * 0.27
ROW, COLUMN, TWO_ROWS, MIRRORED, CROSSWISE = "in a row", "in a column", "in two rows", "mirrored", "crosswise"
ARRANGEMENTS = {ROW: (2, 3), COLUMN: (2, 3), TWO_ROWS: (4, 6), MIRRORED: (4,), CROSSWISE: (4,)}
"""How many shapes may stand so; the last two are of two kinds, two of each: the left half mirrors the right one, or equal
shapes stand on the diagonals of a square."""
PITCHES = (40, 48, 56)
"""Pixels between neighbours in rows."""
WORDS = sorted({
    *COLOURS, *SHAPES, *(f"{shape}s" for shape in SHAPES), "shape", "shapes", "equal", *STYLES, *RADII, *COUNTS.values(), "an",
    "one", "and", "background", *(word for said in (*PLACES, *ARRANGEMENTS) for word in said.split()), ",", ".",
})  # fmt: skip
GAP = 6.0
"""Pixels between two shapes, at least."""
MARGIN = 2.0
REACH = {"circle": 1.0, "square": 1.26, "triangle": 1.33, "star": 1.45}
"""How far a shape's corners reach, for a radius of 1."""
TRIES = 150


@dataclass(frozen=True)
class Group:
    """``count`` equal shapes; all else may be unsaid.

    :param equal: whether the words say so
    """

    shape: str | None
    colour: str | None
    count: int = 1
    size: str | None = None
    place: str | None = None
    equal: bool = False

    def words(self) -> str:
        many = self.count > 1
        name = (self.shape or "shape") + "s" * many
        text = " ".join(part for part in ("equal" * self.equal, self.size, self.colour, name, self.place) if part)
        return f"{COUNTS[self.count]}{'n' * (not many and text[0] in 'aeiou')} {text}"


FACTS = tuple(
    f"{part}{slot}={name}"
    for slot in (0, 1)
    for part, names in (("shape", SHAPES), ("colour", COLOURS), ("count", COUNTS), ("size", RADII), ("place", PLACES))
    for name in names
) + tuple(
    f"{part}={name}"
    for part, names in (("background", COLOURS), ("style", STYLES), ("arrangement", ARRANGEMENTS))
    for name in names
)  # fmt: skip
"""All that a caption can say."""


@dataclass(frozen=True)
class Scene:
    """The promises of a caption.

    :param background: a colour, or None where it is unsaid
    :param arrangement: one of :data:`ARRANGEMENTS`, or None: anywhere
    """

    groups: tuple[Group, ...]
    background: str | None = None
    style: str | None = None
    arrangement: str | None = None

    def words(self, long: bool = False) -> str:
        """The caption.

        :param long: says "on a blue background" for "on blue", and "one" for "a"
        """
        objects = " ".join((" and ".join(group.words() for group in self.groups), *filter(None, [self.arrangement])))
        behind = "" if self.background is None else f" on a {self.background} background" if long else f" on {self.background}"
        text = f"{objects}{behind}" + (f", {self.style}" if self.style else "")
        return "one " + text.split(" ", 1)[1] if long and self.groups[0].count == 1 else text

    @property
    def total(self) -> int:
        """How many shapes."""
        return sum(group.count for group in self.groups)


def facts_of(scene: Scene) -> np.ndarray:
    """Return the facts of a caption: 1 for each of :data:`FACTS` that it states, else 0."""
    said = {f"background={scene.background}", f"style={scene.style}", f"arrangement={scene.arrangement}"}
    for slot, group in enumerate(scene.groups):
        said |= {f"{part}{slot}={getattr(group, part)}" for part in ("shape", "colour", "count", "size", "place")}
    return np.array([fact in said for fact in FACTS], np.float32)


Item = tuple[int, int, float, float, float]
"""An object that can be drawn: shape, colour, x, y, radius."""


@dataclass
class Drawn:
    """Numbers of one picture, all that drawing needs: indices into the tables above, pixels."""

    background: int
    style: int
    objects: list[Item] = field(default_factory=list)


def random_scene(rng: np.random.Generator) -> Scene:
    """A promise: two fifths have two kinds of shapes, a fifth is a single shape, half are arranged."""
    colours = [str(name) for name in rng.permutation(list(COLOURS))[:3]]
    background = colours.pop() if rng.random() < 0.92 else None
    style = str(rng.choice(STYLES)) if rng.random() < 0.3 else None
    kind = rng.random()
    if kind < 0.35:
        arrangement = None if kind < 0.15 else str(rng.choice([MIRRORED, CROSSWISE]))
        return Scene(_two_groups(rng, colours, arrangement), background, style, arrangement)
    arrangement = str(rng.choice([ROW, ROW, COLUMN, TWO_ROWS, TWO_ROWS])) if kind > 0.7 else None
    count = 1 if kind < 0.55 else int(rng.choice(ARRANGEMENTS.get(arrangement, (2, 3))))
    group = _random_group(rng, str(rng.choice(SHAPES)), colours[0], count, count, arrangement)
    unsaid, equal = rng.random(2) < 0.2, count > 1 and rng.random() < 0.3
    group = replace(group, equal=bool(equal), **{part: None for part, left_out in zip(("shape", "colour"), unsaid) if left_out})
    return Scene((group,), background, style, arrangement)


def _two_groups(rng: np.random.Generator, colours: list[str], arrangement: str | None) -> tuple[Group, ...]:
    shapes = rng.choice(SHAPES, 2, replace=False)
    counts = (2, 2) if arrangement else (1, 1) if rng.random() < 0.6 else tuple(rng.permutation([1, 2]))
    total = int(sum(counts))
    return tuple(_random_group(rng, str(s), c, int(n), total, arrangement) for s, c, n in zip(shapes, colours, counts))


def _sizes(total: int, arrangement: str | None) -> list[str]:
    """Those that so many shapes may have: one any, two or a square of four small or medium, others small."""
    return list(RADII)[: 3 if total == 1 else 2 if total == 2 or (arrangement and total == 4) else 1]


def _random_group(rng: np.random.Generator, shape: str, colour: str, count: int, total: int, arrangement: str | None) -> Group:
    place = str(rng.choice(list(PLACES))) if total == 1 and rng.random() < 0.45 else None
    size = str(rng.choice(_sizes(2 if place else total, arrangement))) if rng.random() < 0.5 else None
    return Group(shape, colour, count, size, place)


def _filled(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same with all said that a caption may leave open."""

    def unused() -> str:
        taken = {scene.background, *(group.colour for group in scene.groups)}
        return str(rng.choice([name for name in COLOURS if name not in taken]))

    for number, group in enumerate(scene.groups):
        # a large shape can't be far from the middle
        sizes = _sizes(2 if group.place else scene.total, scene.arrangement)
        others = {other.shape for other in scene.groups}
        known = replace(
            group,
            shape=group.shape or str(rng.choice([name for name in SHAPES if name not in others])),
            colour=group.colour or unused(),
            size=group.size or str(rng.choice(sizes)),
        )
        scene = replace(scene, groups=(*scene.groups[:number], known, *scene.groups[number + 1 :]))
    return replace(scene, background=scene.background or unused(), style=scene.style or "flat")


def realise(scene: Scene, rng: np.random.Generator) -> Drawn:
    """Chooses what the caption leaves open, so that shapes neither touch each other nor the border."""
    scene = _filled(scene, rng)
    kinds = [group for group in scene.groups for _ in range(group.count)]
    of_group = {group: rng.uniform(*RADII[group.size]) for group in scene.groups}
    radii = np.array([of_group[group] for group in kinds])
    extents = radii * [REACH[group.shape] for group in kinds]
    if scene.arrangement:
        places, fit = LAYOUTS[scene.arrangement](extents, rng), 1.0
    else:
        places, fit = _positions(extents, kinds[0].place, rng)
    names = list(COLOURS)
    drawn = Drawn(names.index(scene.background), STYLES.index(scene.style))
    for group, (x, y), radius in zip(kinds, places, radii * fit):
        drawn.objects.append((SHAPES.index(group.shape), names.index(group.colour), float(x), float(y), float(radius)))
    return drawn


def _range(extents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and last steps of the grid where centres may be."""
    return np.ceil((extents + MARGIN) / GRID), np.floor((SIZE - extents - MARGIN) / GRID)


def _positions(extents: np.ndarray, place: str | None, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Centres ``(n, 2)``, and the factor by which shapes must shrink to fit (1 for nearly all)."""
    low, high = _range(extents)
    if place is not None:
        third = SIZE / 2 + np.array(PLACES[place]) * THIRD + rng.uniform(-0.07, 0.07, (1, 2)) * SIZE
        return GRID * np.clip(np.round(third / GRID), low[:, None], high[:, None]), 1.0
    tries = GRID * rng.integers(low[None, :, None], high[None, :, None] + 1, (TRIES, len(extents), 2)).astype(float)
    if len(extents) == 1:
        return tries[0], 1.0
    first, second = np.triu_indices(len(extents), 1)
    distances = np.linalg.norm(tries[:, first] - tries[:, second], axis=-1)
    fits = ((distances - GAP) / (extents[first] + extents[second])).min(-1)
    best = int(np.argmax(fits >= 1)) if (fits >= 1).any() else int(np.argmax(fits))
    return tries[best], min(1.0, float(fits[best]))


def _line(count: int, extent: float, rng: np.random.Generator) -> np.ndarray:
    """Evenly spaced centres ``(count,)`` along one direction."""
    low, high = _range(np.array(extent)) * np.array(GRID)
    fits = [pitch for pitch in PITCHES if pitch >= 2 * extent + GAP and (count - 1) * pitch <= high - low]
    length = (count - 1) * (int(rng.choice(fits)) if count > 1 else 0)
    first = GRID * rng.integers(low // GRID, (high - length) // GRID + 1)
    return first + length * np.linspace(0, 1, count) if count > 1 else np.array([float(first)])


def _in_rows(columns: int, rows: int, extents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    across, down = (_line(count, extents.max(), rng) for count in (columns, rows))
    return np.array([(x, y) for y in down for x in across], float)


def _mirrored(extents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two pairs, each as far to the left of the middle as to the right, one above the other."""
    first, second = extents[0], extents[2]
    (low_1, low_2), (high_1, high_2) = _range(np.array([first, second]))
    apart = (first + second + GAP) / GRID
    heights = [
        (up, down)
        for up in range(int(low_1), int(high_1) + 1)
        for down in range(int(low_2), int(high_2) + 1)
        if abs(up - down) >= apart
    ]
    places = []
    for extent, y in zip((first, second), heights[rng.integers(len(heights))]):
        least, most = np.ceil((extent + GAP / 2) / GRID), np.floor((SIZE / 2 - extent - MARGIN) / GRID)
        away = int(rng.integers(least, most + 1))
        places += [(SIZE / 2 - GRID * away, GRID * y), (SIZE / 2 + GRID * away, GRID * y)]
    return np.array(places, float)


def _crosswise(extents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    square = _in_rows(2, 2, extents, rng)
    return square[[0, 3, 1, 2]]


LAYOUTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    ROW: lambda extents, rng: _in_rows(len(extents), 1, extents, rng),
    COLUMN: lambda extents, rng: _in_rows(1, len(extents), extents, rng),
    TWO_ROWS: lambda extents, rng: _in_rows(len(extents) // 2, 2, extents, rng),
    MIRRORED: _mirrored,
    CROSSWISE: _crosswise,
}
"""From the reach of all shapes ``(n,)`` to their centres ``(n, 2)``."""
