"""The drawer: what captions promise is what is drawn, and the same seed draws the same."""

import numpy as np
import pytest

from tools import drawing, shapes
from tools.shapes import Group, Scene


def pictures(seed, style=drawing.PLAIN, count=8):
    rng = np.random.default_rng(seed)
    return [drawing.draw(shapes.realise(shapes.random_scene(rng), rng), style, rng) for _ in range(count)]


@pytest.mark.parametrize("style", [drawing.PLAIN, drawing.INK])
def test_a_seed_decides_everything(style):
    first, again, other = pictures(3, style), pictures(3, style), pictures(4, style)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first[0].shape == (shapes.SIZE, shapes.SIZE, 3) and first[0].dtype == np.uint8


@pytest.mark.parametrize(
    ("scene", "short", "long"),
    [
        (Scene((Group("circle", "red", 3),), "blue"), "three red circles on blue", "three red circles on a blue background"),
        (Scene((Group("star", "orange"),)), "an orange star", "one orange star"),
        (
            Scene((Group("square", "red", 1, "large", "on the left"),), "white", "shaded"),
            "a large red square on the left on white, shaded",
            "one large red square on the left on a white background, shaded",
        ),
        (
            Scene((Group("circle", "red"), Group("star", "blue", 2, "small")), "black"),
            "a red circle and two small blue stars on black",
            "one red circle and two small blue stars on a black background",
        ),
        (
            Scene((Group("triangle", "green", 4, equal=True),), "white", None, shapes.TWO_ROWS),
            "four equal green triangles in two rows on white",
            "four equal green triangles in two rows on a white background",
        ),
        (
            Scene((Group(None, None, 3),), "red", None, shapes.ROW),
            "three shapes in a row on red",
            "three shapes in a row on a red background",
        ),
        (
            Scene((Group("star", "red", 2), Group("circle", "blue", 2)), None, "flat", shapes.MIRRORED),
            "two red stars and two blue circles mirrored, flat",
            "two red stars and two blue circles mirrored, flat",
        ),
    ],
)
def test_captions_are_plain_words(scene, short, long):
    assert scene.words() == short and scene.words(long=True) == long


def test_every_word_of_a_caption_is_known():
    rng = np.random.default_rng(0)
    captions = [shapes.random_scene(rng).words(long=i % 2 == 0).replace(",", " ,") for i in range(500)]
    assert set(" ".join(captions).split()) <= set(shapes.WORDS)


def test_shapes_keep_apart_and_inside():
    rng = np.random.default_rng(1)
    for _ in range(300):
        scene = shapes.random_scene(rng)
        drawn = shapes.realise(scene, rng)
        assert len(drawn.objects) == scene.total
        ends = [(x, y, radius * shapes.REACH[shapes.SHAPES[shape]]) for shape, _, x, y, radius in drawn.objects]
        assert all(reach <= min(x, y) and max(x, y) <= shapes.SIZE - reach for x, y, reach in ends)
        for i, (x, y, reach) in enumerate(ends):
            assert all(np.hypot(x - u, y - v) > reach + other for u, v, other in ends[:i])


def test_what_a_caption_leaves_open_is_one_for_all_shapes_of_a_kind():
    rng, unsaid = np.random.default_rng(2), 0
    for _ in range(300):
        scene = shapes.random_scene(rng)
        drawn = shapes.realise(scene, rng)
        kinds = {(shape, colour, radius) for shape, colour, _, _, radius in drawn.objects}
        assert len(kinds) == len(scene.groups) and drawn.background not in {colour for _, colour, _ in kinds}
        unsaid += any(group.count > 1 and None in (group.shape, group.colour) for group in scene.groups)
    assert unsaid > 30


@pytest.mark.parametrize("arrangement", shapes.ARRANGEMENTS)
@pytest.mark.parametrize("shape", shapes.SHAPES)
@pytest.mark.parametrize("size", ["small", "medium"])
def test_every_arrangement_has_room_for_every_shape(arrangement, shape, size):
    for count in shapes.ARRANGEMENTS[arrangement]:
        if size == "small" or count in (2, 4):
            extents = np.full(count, shapes.RADII[size][1] * shapes.REACH[shape])
            for seed in range(8):
                places = shapes.LAYOUTS[arrangement](extents, np.random.default_rng(seed))
                assert places.shape == (count, 2) and not (places % shapes.GRID).any()


def test_an_unknown_style_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="crayon"):
        drawing.draw(shapes.realise(shapes.random_scene(rng), rng), "crayon", rng)
