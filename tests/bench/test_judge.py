"""The judge on pictures whose truth is known: drawn ones."""

from dataclasses import replace

import numpy as np
import pytest

from bench.quality import adherence
from bench.quality.judge import SMALLEST, is_of_world, judge, look, parts_agree
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
            arrangement = shapes.TWO_ROWS if count > 3 else None
            scene = Scene((Group(shape, colour, count),), background, arrangement=arrangement)
            right += [judge(drawn(scene, style, seed), scene).kept for seed in range(2)]
    assert np.mean(right) >= (1.0 if style == drawing.PLAIN else 0.96)


@pytest.mark.parametrize("style", STYLES)
def test_knows_the_drawers_own_pictures(style):
    results = adherence.measure(adherence.drawn(style, 5), 60, 5)
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


UNSAID = Scene((Group(None, None, 3, equal=True),), "white")


def beside(*scenes):
    """Pictures of single shapes in the four corners."""
    corners = ("at the top left", "at the top right", "at the bottom left", "at the bottom right")
    drawings = [
        drawn(replace(scene, groups=(replace(scene.groups[0], place=corner),))) for scene, corner in zip(scenes, corners)
    ]
    picture = drawings[0].copy()
    half = shapes.SIZE // 2
    for drawing_, (x, y) in zip(drawings, ((0, 0), (1, 0), (0, 1), (1, 1))):
        window = slice(y * half, (y + 1) * half), slice(x * half, (x + 1) * half)
        picture[window] = drawing_[window]
    return picture


def small(shape, colour, size="small"):
    return Scene((Group(shape, colour, 1, size),), "white")


def test_what_is_unsaid_may_be_anything_but_must_agree():
    stars = [small("star", "red")] * 3
    assert judge(beside(*stars), UNSAID).kept
    for other in (small("star", "blue"), small("circle", "red"), small("star", "red", "medium")):
        verdict = judge(beside(*stars[:2], other), UNSAID)
        assert verdict.count and verdict.alike is False and not verdict.kept
    assert judge(beside(*stars), replace(UNSAID, groups=(replace(UNSAID.groups[0], colour="red"),))).kept
    assert not judge(beside(*stars), replace(UNSAID, groups=(replace(UNSAID.groups[0], colour="blue"),))).kept


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("arrangement", shapes.ARRANGEMENTS)
def test_tells_arrangements_apart(style, arrangement):
    groups = {
        shapes.MIRRORED: (Group("circle", "red", 2), Group("star", "blue", 2)),
        shapes.CROSSWISE: (Group("circle", "red", 2), Group("star", "blue", 2)),
    }
    of = {name: groups.get(name, (Group("square", "green", counts[-1]),)) for name, counts in shapes.ARRANGEMENTS.items()}
    promised = Scene(of[arrangement], "white", arrangement=arrangement)
    pictures = [drawn(promised, style, seed) for seed in range(5)]
    assert all(judge(picture, promised).arranged and judge(picture, promised).kept for picture in pictures)
    # both of two kinds may stand in two rows too
    same = (arrangement, *groups) if arrangement == shapes.TWO_ROWS else (arrangement,)
    others = [Scene(of[other], "white", arrangement=other) for other in shapes.ARRANGEMENTS if other not in same]
    assert not any(judge(drawn(other, style), promised).arranged for other in others)


def test_parts_agree_whatever_was_promised():
    four = [small("triangle", "green")] * 4
    assert parts_agree(look(beside(*four)).objects)
    assert not parts_agree(look(beside(*four[:3], small("triangle", "green", "medium"))).objects)
    two = [small("circle", "red"), small("star", "blue")]
    assert parts_agree(look(beside(*two, *two[::-1])).objects)
    assert parts_agree(look(beside(two[0], two[0], two[1], two[1])).objects)
    assert not parts_agree(look(beside(two[0], two[1], two[0], two[1])).objects)
    assert not parts_agree(look(beside(*two, small("square", "black"))).objects) and not parts_agree(())


@pytest.mark.parametrize("style", STYLES)
def test_drawn_pictures_are_of_this_world_and_others_are_not(style):
    rng = np.random.default_rng(4)
    pictures = [drawing.draw(shapes.realise(shapes.random_scene(rng), rng), style, rng) for _ in range(60)]
    assert all(is_of_world(look(picture)) for picture in pictures)
    noise = rng.integers(0, 255, pictures[0].shape, dtype=np.uint8)
    broken = [beside(*[small("star", "red")] * 2, small("star", "blue")), np.zeros_like(noise), noise]
    assert not any(is_of_world(look(picture)) for picture in broken)


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
