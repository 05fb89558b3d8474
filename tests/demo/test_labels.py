"""Legends of grids: all of a text is seen, or its beginning."""

import numpy as np
import pytest
from PIL import Image

GREY = (128, 128, 128)


@pytest.fixture
def labels(host):
    from modules import labels

    return labels


@pytest.mark.parametrize("size", [(64, 64), (192, 192), (768, 512)])
def test_texts_stay_in_the_margins_of_their_pictures(labels, size):
    columns = ["PAG scale: 1", "PAG layers: input.1, input.4, middle, output.5", "Anunbrokenword" * 5]
    grid = Image.new("RGB", (size[0] * 3, size[1] * 2), GREY)
    labelled = labels.draw_labels(grid, columns, ["off", "Saliency-adaptive fusion (SANF): on"])
    left, top = labelled.width - grid.width, labelled.height - grid.height
    assert 0 < left <= 0.75 * size[0] and 0 < top <= 100
    pixels = np.asarray(labelled)
    assert (pixels[top:, left:] == GREY).all()
    borders = [0, left - 1, *(left + i * size[0] for i in range(3)), labelled.width - 1]
    assert (pixels[:top, borders] == 255).all() and (pixels[top:, [0, left - 1]] == 255).all()
    assert (pixels[[0, top - 1], :left] == 255).all() and (pixels[0] == 255).all()
    for i in range(3):
        assert (pixels[:top, left + i * size[0] : left + (i + 1) * size[0]] < 128).any()


def test_words_are_wrapped_before_they_are_cut(labels):
    font, (text,) = labels.fitted(["PAG layers: input.1, middle"], 90, 100)
    assert text.split() == ["PAG", "layers:", "input.1,", "middle"] and "\n" in text
    font, (text,) = labels.fitted(["Incomprehensibilities"], 50, 100)
    assert font.size == labels.SMALLEST and text.startswith("Incom") and text.endswith("…")
    assert font.getlength(text) <= 50


def test_rows_without_texts_have_no_margin(labels):
    grid = Image.new("RGB", (64, 64), GREY)
    assert labels.draw_labels(grid, ["a"], []).width == 64 and labels.draw_labels(grid, [""], []).size == (64, 64)
