"""A prompt's two sides of a refiner's switch."""

import pytest

from lib_sdfm.prompts.edits import MARK
from lib_sdfm.prompts.sides import side_of


@pytest.mark.parametrize("prompt, before, after", [
    ("[red:blue:refiner] circle", "red circle", "blue circle"), ("[to:refiner] x", " x", "to x"), ("plain", "plain", "plain"),
    ("[a:b:0.5], [c::refiner]", "[a:b:0.5], c", "[a:b:0.5], "), ("[[a:b:refiner]:c:refiner]", "a", "c"),
    ("[ (a:1.2):[x:y:refiner]:refiner] z", " (a:1.2) z", "y z"), (r"[a\:b:c:refiner]", r"a\:b", "c"),
    ("[a\uff1ab\uff1arefiner] q", "a q", "b q"),
    ("<lora:x:1> [a<lora:y:2>:b:refiner]", "<lora:x:1> a<lora:y:2>", "<lora:x:1> b"),
])  # fmt: skip
def test_each_edit_becomes_one_of_its_texts(prompt: str, before: str, after: str):
    assert side_of(prompt, lambda when: when == MARK, second=False) == before
    assert side_of(prompt, lambda when: when == MARK, second=True) == after
