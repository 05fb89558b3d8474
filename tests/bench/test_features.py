"""The distance between sets of pictures: none between drawn ones, and larger the more they are spoiled."""

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from bench.quality.features import drawn, features
from bench.quality.resampling import Target, Weights, interval
from tools import drawing, shapes

COUNT, DRAWN = 64, 128
WEIGHTS = Weights.chosen(COUNT, DRAWN, 200)
GRAY = np.array([1 / 3, 1 / 3, 1 / 3])


@cache
def pictures():
    return drawn(COUNT, 6)


@cache
def target():
    return Target(features(drawn(DRAWN, 7)), WEIGHTS.drawn)


def distances(changed):
    return target().distances(features(changed), WEIGHTS.made)


@cache
def undisturbed():
    return distances(pictures())


def as_bytes(values):
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def blurred(amount):
    return ndimage.gaussian_filter(pictures(), (0, amount, amount, 0))


def noisy(amount):
    return as_bytes(pictures() + np.random.default_rng(0).normal(0, amount, pictures().shape))


def saturated(amount):
    gray = (pictures() @ GRAY)[..., None]
    return as_bytes(gray + (pictures() - gray) * amount)


def faded(amount):
    return saturated(1 / amount)


def of_wrong_shapes(share):
    """Circles in place of a share of all shapes."""
    rng, made = np.random.default_rng(6), []
    for _ in range(COUNT):
        scene = shapes.realise(shapes.random_scene(rng), rng)
        scene.objects = [(0 if rng.random() < share else shape, *rest) for shape, *rest in scene.objects]
        made.append(drawing.draw(scene, drawing.PLAIN, rng))
    return np.stack(made)


def all_alike(kinds):
    return pictures()[np.arange(COUNT) % int(kinds)]


DISTURBED = {
    "blur": (blurred, (0.7, 1.5, 3.0)),
    "noise": (noisy, (3.0, 8.0, 20.0)),
    "saturation": (saturated, (1.4, 2.0, 4.0)),
    "fading": (faded, (1.4, 2.0, 4.0)),
    "wrong shapes": (of_wrong_shapes, (0.5, 1.0)),
    "few kinds": (all_alike, (16, 4, 1)),
}


def test_drawn_pictures_are_as_far_from_drawn_ones_as_nothing():
    found = undisturbed()
    low, high = interval(found)
    assert abs(found[0]) < 0.06 and low < 0 < high


@pytest.mark.parametrize("kind", DISTURBED)
def test_the_more_disturbed_the_farther(kind):
    disturb, amounts = DISTURBED[kind]
    found = [undisturbed(), *(distances(disturb(amount)) for amount in amounts)]
    figures = [replicates[0] for replicates in found]
    assert figures == sorted(figures)
    assert interval(found[-1] - found[0])[0] > 0


def test_ink_drawings_are_not_plain_ones():
    assert interval(distances(drawn(COUNT, 6, drawing.INK)))[0] > 0.1


def test_features_are_of_one_picture_at_a_time_and_about_as_long_as_said():
    both, one = features(pictures()[:4]), features(pictures()[2:3])
    np.testing.assert_allclose(both[2:3], one, atol=1e-6)
    assert 0.5 < np.linalg.norm(features(pictures()), axis=1).mean() < 1.1
