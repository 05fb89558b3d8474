"""The world of the shapes models: what a picture holds, and how it is said in plain words.

A scene is one or two kinds of coloured shapes on a plain background. Captions leave out what may be left out, so that models
learn each word by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SIZE = 96
"""Pixels of a picture's side."""
COLOURS = {
    "red": (215, 40, 45), "orange": (245, 140, 35), "yellow": (250, 220, 60), "green": (50, 165, 75),
    "blue": (45, 90, 215), "purple": (140, 60, 175), "white": (245, 245, 245), "black": (25, 25, 28),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star")
STYLES = ("flat", "shaded")
RADII = {"small": (14.5, 15.0), "medium": (19.5, 20.5), "large": (25.0, 26.0)}
"""Pixels, of the circle; other shapes have about its area."""
GRID = 8
"""Pixels between the places where a shape's centre may be: as far apart as values of a latent."""
COUNTS = {1: "a", 2: "two", 3: "three"}
PLACES = {
    "on the left": (-1, 0), "on the right": (1, 0), "at the top": (0, -1), "at the bottom": (0, 1), "in the middle": (0, 0),
    "at the top left": (-1, -1), "at the top right": (1, -1), "at the bottom left": (-1, 1), "at the bottom right": (1, 1),
}  # fmt: skip
"""To the right and downwards, in steps of ``THIRD``. A place with one direction leaves the other near the middle."""
THIRD = SIZE * 0.27
WORDS = sorted({
    *COLOURS, *SHAPES, *(f"{shape}s" for shape in SHAPES), *STYLES, *RADII, *COUNTS.values(), "an", "one", "and", "background",
    *(word for place in PLACES for word in place.split()), ",", ".",
})  # fmt: skip
GAP = 4.5
"""Pixels between two shapes, at least."""
MARGIN = 2.0
REACH = {"circle": 1.0, "square": 1.26, "triangle": 1.33, "star": 1.45}
"""How far a shape's corners reach, for a radius of 1."""
TRIES = 150


@dataclass(frozen=True)
class Group:
    """``count`` equal shapes; ``size`` and ``place`` may be unsaid."""

    shape: str
    colour: str
    count: int = 1
    size: str | None = None
    place: str | None = None

    def words(self) -> str:
        many = self.count > 1
        parts = [self.size, self.colour, self.shape + "s" * many, self.place]
        text = " ".join(part for part in parts if part)
        return f"{COUNTS[self.count]}{'n' * (not many and text.startswith('o'))} {text}"


FACTS = tuple(
    f"{part}{slot}={name}"
    for slot in (0, 1)
    for part, names in (("shape", SHAPES), ("colour", COLOURS), ("count", COUNTS), ("size", RADII), ("place", PLACES))
    for name in names
) + tuple(f"background={name}" for name in COLOURS) + tuple(f"style={name}" for name in STYLES)  # fmt: skip
"""All that a caption can say."""


@dataclass(frozen=True)
class Scene:
    """The promises of a caption.

    :param background: a colour, or None where it is unsaid
    """

    groups: tuple[Group, ...]
    background: str | None = None
    style: str | None = None

    def words(self, long: bool = False) -> str:
        """The caption.

        :param long: says "on a blue background" for "on blue", and "one" for "a"
        """
        objects = " and ".join(group.words() for group in self.groups)
        behind = "" if self.background is None else f" on a {self.background} background" if long else f" on {self.background}"
        text = f"{objects}{behind}" + (f", {self.style}" if self.style else "")
        return "one " + text.split(" ", 1)[1] if long and self.groups[0].count == 1 else text


def facts_of(scene: Scene) -> np.ndarray:
    """Return the facts of a caption: 1 for each of :data:`FACTS` that it states, else 0."""
    said = {f"background={scene.background}", f"style={scene.style}"}
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
    """A promise; singles are half of them, two kinds one in five."""
    colours = list(rng.permutation(list(COLOURS))[:3])
    background = str(colours.pop()) if rng.random() < 0.92 else None
    style = str(rng.choice(STYLES)) if rng.random() < 0.4 else None
    kind = rng.random()
    if kind < 0.2:
        shapes = rng.choice(SHAPES, 2, replace=False)
        counts = (1, 1) if rng.random() < 0.6 else tuple(rng.permutation([1, 2]))
        groups = [_random_group(rng, str(s), str(c), int(n), int(sum(counts))) for s, c, n in zip(shapes, colours, counts)]
        return Scene(tuple(groups), background, style)
    count = 1 if kind < 0.7 else int(rng.integers(2, 4))
    return Scene((_random_group(rng, str(rng.choice(SHAPES)), str(colours[0]), count, count),), background, style)


def _sizes(total: int) -> list[str]:
    """Those that so many shapes may have: one any, two small or medium, three small."""
    return list(RADII)[: 4 - total]


def _random_group(rng: np.random.Generator, shape: str, colour: str, count: int, total: int) -> Group:
    place = str(rng.choice(list(PLACES))) if total == 1 and rng.random() < 0.45 else None
    size = str(rng.choice(_sizes(2 if place else total))) if rng.random() < 0.5 else None
    return Group(shape, colour, count, size, place)


def realise(scene: Scene, rng: np.random.Generator) -> Drawn:
    """Chooses what the caption leaves open, so that shapes neither touch each other nor the border."""
    total = sum(group.count for group in scene.groups)
    kinds = [group for group in scene.groups for _ in range(group.count)]
    # a large shape can't be far from the middle
    sizes = {group: group.size or str(rng.choice(_sizes(2 if group.place else total))) for group in scene.groups}
    radii = np.array([rng.uniform(*RADII[sizes[group]]) for group in kinds])
    extents = radii * [REACH[group.shape] for group in kinds]
    places, fit = _positions(extents, kinds[0].place, rng)
    free = [name for name in COLOURS if name not in {group.colour for group in scene.groups}]
    names = list(COLOURS)
    drawn = Drawn(names.index(scene.background or str(rng.choice(free))), STYLES.index(scene.style or "flat"))
    for group, (x, y), radius in zip(kinds, places, radii * fit):
        drawn.objects.append((SHAPES.index(group.shape), names.index(group.colour), float(x), float(y), float(radius)))
    return drawn


def _positions(extents: np.ndarray, place: str | None, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Centres ``(n, 2)``, and the factor by which shapes must shrink to fit (1 for nearly all)."""
    # in steps of the grid
    low, high = np.ceil((extents + MARGIN) / GRID), np.floor((SIZE - extents - MARGIN) / GRID)
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
