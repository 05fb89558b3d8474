"""The judge on pictures whose truth is known: drawn ones."""

import numpy as np
import pytest

from bench.quality import adherence
from bench.quality.judge import SMALLEST, judge, look
from tools import drawing, shapes
from tools.shapes import Group, Scene

STYLES = (drawing.PLAIN, drawing.INK)
PALETTES = [(colour, "white" if colour != "white" else "blue") for colour in shapes.COLOURS]


def drawn(scene, style=drawing.PLAIN, seed=0):
    rng = np.random.default_rng(seed)
    return drawing.draw(shapes.realise(scene, rng), style, rng)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_knows_every_shape_colour_and_count(style, shape):
    right = []
    for colour, background in PALETTES:
        for count in shapes.COUNTS:
            scene = Scene((Group(shape, colour, count),), background)
            right += [judge(drawn(scene, style, seed), scene).kept for seed in range(4)]
    assert np.mean(right) >= (1.0 if style == drawing.PLAIN else 0.96)


@pytest.mark.parametrize("style", STYLES)
def test_knows_the_drawers_own_pictures(style):
    results = adherence.measure(adherence.drawn(style, 5), 120, 5)
    for found in results.values():
        for aspect, value in found["summary"].items():
            assert value["share"] >= (0.99 if style == drawing.PLAIN else 0.9), aspect


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("background", shapes.COLOURS)
def test_knows_every_background(style, background):
    scene = Scene((Group("circle", "red" if background != "red" else "blue", 2),), background)
    assert judge(drawn(scene, style), scene).background


PROMISED = Scene((Group("circle", "red", 3),), "blue")
WRONG = {
    "count": Scene((Group("circle", "red", 2),), "blue"),
    "shape": Scene((Group("square", "red", 3),), "blue"),
    "colour": Scene((Group("circle", "orange", 3),), "blue"),
    "background": Scene((Group("circle", "red", 3),), "black"),
}


@pytest.mark.parametrize("aspect", WRONG)
@pytest.mark.parametrize("seed", range(5))
def test_says_what_is_wrong(aspect, seed):
    verdict = judge(drawn(WRONG[aspect], seed=seed), PROMISED)
    assert not verdict.kept
    assert [name for name in WRONG if not getattr(verdict, name)] == [aspect]


def test_exchanged_colours_are_a_broken_promise():
    promised = Scene((Group("circle", "red"), Group("square", "green")), "white")
    exchanged = Scene((Group("circle", "green"), Group("square", "red")), "white")
    verdict = judge(drawn(exchanged), promised)
    assert verdict.count and verdict.shape and verdict.colour and not verdict.bound and not verdict.kept


@pytest.mark.parametrize(("size", "other"), [("small", "large"), ("medium", "small"), ("large", "medium")])
@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_tells_sizes_apart(shape, size, other):
    promised, wrong = (Scene((Group(shape, "blue", 1, said),), "yellow") for said in (size, other))
    assert judge(drawn(promised), promised).size is True
    assert judge(drawn(wrong), promised).size is False


@pytest.mark.parametrize("place", shapes.PLACES)
def test_tells_places_apart(place):
    promised = Scene((Group("star", "blue", 1, None, place),), "yellow")
    assert judge(drawn(promised), promised).place is True
    for other in set(shapes.PLACES) - {place}:
        elsewhere = Scene((Group("star", "blue", 1, None, other),), "yellow")
        assert judge(drawn(elsewhere), promised).place is False


def test_an_empty_picture_keeps_no_promise_and_specks_are_nothing():
    empty = np.full((shapes.SIZE, shapes.SIZE, 3), shapes.COLOURS["blue"], np.uint8)
    assert look(empty).objects == () and not judge(empty, PROMISED).kept
    side = int((SMALLEST * empty[..., 0].size) ** 0.5) - 1
    empty[40 : 40 + side, 40 : 40 + side] = 255
    assert look(empty).objects == ()


def test_what_is_no_shape_or_colour_is_called_none():
    picture = np.full((shapes.SIZE, shapes.SIZE, 3), 245, np.uint8)
    picture[10:80, 40:48] = (0, 255, 255)
    (found,) = look(picture).objects
    assert found.shape is None and found.colour is None


def test_larger_pictures_are_judged_alike():
    scene = Scene((Group("star", "red", 3),), "white")
    assert judge(drawn(scene).repeat(2, 0).repeat(2, 1), scene).kept


@pytest.mark.parametrize(("hits", "count", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (0, 0, 0, 1)])
def test_wilson_interval(hits, count, low, high):
    assert adherence.wilson(hits, count) == pytest.approx((low, high), abs=1e-4)


def test_captions_of_a_kind_are_of_that_kind_and_the_same_each_time():
    for kind, is_of_kind in adherence.KINDS.items():
        scenes = adherence.scenes_of(kind, 20, 3)
        assert all(map(is_of_kind, scenes)) and scenes == adherence.scenes_of(kind, 20, 3)
