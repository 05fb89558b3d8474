"""The language of layers, and what it selects in the real UNet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.sampling.layers import LayerRange, parse_layers, select_layers, transformer_layers
from tests.schema.strategies import layer_texts
from tests.support import tiny_unet


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    """Attention in input 1 and 3, in the middle, and in output 0 to 3; two transformer blocks, one in the first level."""
    return tiny_unet()


def names(unet: nn.Module, text: str) -> list[str]:
    return [layer.name for layer in select_layers(unet, parse_layers(text))]


@given(layer_texts)
def test_every_text_of_the_language_is_parsed(text: str):
    ranges = parse_layers(text)
    assert len(ranges) == len(text.split(","))
    assert ranges == parse_layers(text.replace(" ", "")) == parse_layers(f" {text} ")


@given(st.text(alphabet="inputmdle.-0123 ,", max_size=12) | st.text(max_size=5))
def test_other_texts_are_refused_with_the_reason(text: str):
    try:
        assert all(isinstance(part, LayerRange) for part in parse_layers(text))
    except ValueError as reason:
        assert "comma-separated list" in str(reason) or "ascends" in str(reason)


NEAR_MISSES = ["", ",", "middle,", "Middle", "input", "output.", "middle.", "middle.1-", "input.1.2.3", "m", "x0", "input.-1"]


@pytest.mark.parametrize("text", NEAR_MISSES)
def test_near_misses_are_refused(text: str):
    with pytest.raises(ValueError, match="comma-separated list"):
        parse_layers(text)


@pytest.mark.parametrize("text", ["input.3.5-2", "d5-2", "m0.3-1"])
def test_ranges_ascend(text: str):
    with pytest.raises(ValueError, match="ascends"):
        parse_layers(text)


def test_all_layers_are_listed_in_the_order_in_which_they_run(unet: nn.Module):
    blocks = ["input.1", "input.3", "middle", "output.0", "output.1", "output.2", "output.3"]
    first_level = ("input.1", "output.2", "output.3")
    names = [f"{block}.{index}" for block in blocks for index in (range(1) if block in first_level else range(2))]
    assert [layer.name for layer in transformer_layers(unet)] == names


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("middle", ["middle.0", "middle.1"]),
        ("middle.0", ["middle.0"]),
        ("middle.0-1", ["middle.0", "middle.1"]),
        ("input.3", ["input.3.0", "input.3.1"]),
        ("output.1.1", ["output.1.1"]),
        ("output.0, middle.1, input.1.0", ["input.1.0", "middle.1", "output.0.0"] + ["output.0.1"]),
        ("middle, middle.0, m0", ["middle.0", "middle.1"]),
        ("d0", ["input.1.0"]),  # counted: blocks with attention only
        ("d1.1", ["input.3.1"]),
        ("d0-1.0", ["input.1.0", "input.3.0"]),
        ("m0.1", ["middle.1"]),
        ("u0-1.0-1", ["output.0.0", "output.0.1", "output.1.0", "output.1.1"]),
    ],
)
def test_a_text_selects_its_layers_once_and_in_order(unet: nn.Module, text: str, chosen: list[str]):
    assert names(unet, text) == chosen


def test_a_layers_name_selects_it(unet: nn.Module):
    for layer in transformer_layers(unet):
        assert names(unet, layer.name) == [layer.name]
        assert select_layers(unet, parse_layers(layer.name))[0].module is layer.module


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("input.0", "input block 0"),
        ("input.2", "only in 1, 3"),
        ("output.9", "output block 9"),
        ("d2", "input block 2"),
        ("d0-5", "input block 2"),
        ("m1", "middle block 1"),
        ("u4", "output block 4"),
        ("middle.2", "transformer blocks 0 to 1, not 2"),
        ("output.1.0-3", "transformer blocks 0 to 1, not 3"),
        ("middle, input.7", "input block 7"),
    ],
)
def test_what_the_model_lacks_is_named(unet: nn.Module, text: str, problem: str):
    with pytest.raises(UnsupportedError, match=problem):
        names(unet, text)


def test_a_model_without_attention_somewhere_says_so():
    unet = tiny_unet(attention_resolutions=(2,))
    assert names(unet, "d0") == ["input.3.0", "input.3.1"]
    with pytest.raises(UnsupportedError, match="input block 1"):
        names(unet, "input.1")
