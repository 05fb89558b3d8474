"""Where a prompt has edits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.prompts.edits import MARK, find_edits, replaced
from tests.prompts.texts import well_formed


def whens(prompt: str, **options: bool) -> list[str]:
    return [edit.text for edit in find_edits(prompt, **options)]


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("[from:to:refiner]", ["refiner"]),
        ("[to:refiner]", ["refiner"]),
        ("[from::refiner]", ["refiner"]),
        ("[::refiner]", ["refiner"]),
        ("[a:b: refiner ]", ["refiner"]),
        ("[a:b:0.5] and [c:d:3]", ["0.5", "3"]),
        ("[a:[b:c:refiner]:0.3]", ["refiner", "0.3"]),
        ("([a:b:refiner]:1.3)", ["refiner"]),
        ("[(a:1.2):(b:0.8):refiner]", ["refiner"]),
        ("[[a:b:refiner]|c]", ["refiner"]),
        ("[[a|b]:c:refiner]", ["refiner"]),
        ("[[a:b:refiner]]", ["refiner"]),
        ("[a:b:.5] [a:b:1.] [a:b:-1] [a:b:+1e-1]", [".5", "1.", "-1", "+1e-1"]),
    ],
)
def test_edits_are_found_from_left_to_right(prompt: str, found: list[str]):
    assert whens(prompt) == whens(prompt, negative=True) == found


@pytest.mark.parametrize(
    "prompt",
    [
        "", "plain", "refiner", ":refiner]", "[refiner]", "[a:b:refiner", "a:b:refiner]", "[a:b:refine]", "[a:b：0.5]",
        "[a:b:refiner x]", "[a:b:c:refiner]", "(a:b:refiner)", r"\[a:b:refiner]", r"[a:b\:refiner]", "[a:b:refiner\\]",
        "[a ) b:c:refiner]", "[a ( b:c:refiner]", "[a:b|c:refiner]", "a|b [c:d:refiner]", "(a|b) [c:d:refiner]",
        "[c:d:refiner] \\", "[c:d:refiner] [a|b", "[a:b:0,5]", "[a:b:]", "[a:b:5 5]",
    ],
)  # fmt: skip
def test_what_the_hosts_take_for_text_is_no_edit(prompt: str):
    assert whens(prompt, negative=True) == []


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a ) [b:c:refiner]", ["refiner"]),
        ("(x [b:c:refiner]", ["refiner"]),
        ("[a:b:c:[d:e:refiner]]", ["refiner"]),
        ("[x:[3:4:refiner]]", ["refiner"]),
        (":) [b:c:refiner] (:", ["refiner"]),
        ("[x (a:b:c) [q:w:3] y:z:refiner]", ["3"]),
    ],
)
def test_stray_brackets_spoil_only_what_is_around_them(prompt: str, found: list[str]):
    assert whens(prompt) == found


class TestWhatTheHostsDoBeforehand:
    def test_networks_are_taken_out_of_prompts(self):
        prompt = "[a:<lora:x:0.5>:refiner] <lora:y:1>"
        assert whens(prompt) == ["refiner"]
        assert replaced(prompt, find_edits(prompt), lambda edit: "9") == "[a:<lora:x:0.5>:9] <lora:y:1>"

    def test_and_not_out_of_negative_ones(self):
        assert whens("[a:<lora:x:0.5>:refiner]", negative=True) == []

    def test_prompts_are_split_at_and(self):
        assert whens("[a AND b:c:refiner]") == []
        assert whens("[a:b:refiner] AND [c:d:refiner] :0.5") == ["refiner"] * 2
        assert whens("a|b AND [c:d:refiner]") == ["refiner"]

    def test_negative_ones_are_not(self):
        assert whens("[a AND b:c:refiner]", negative=True) == ["refiner"]

    def test_a_network_inside_of_a_number_leaves_the_prompt_alone(self):
        assert whens("[a:b:0<lora:x:1>5]") == []


@given(well_formed())
def test_only_what_stands_as_when_is_replaced(prompt: str):
    edits = find_edits(prompt, negative=True)
    assert [prompt[edit.start : edit.end] for edit in edits] == [edit.text for edit in edits]
    marked = replaced(prompt, edits, lambda edit: MARK)
    assert whens(marked, negative=True) == [MARK] * len(edits)
    texts = iter(edit.text for edit in edits)
    assert replaced(marked, find_edits(marked, negative=True), lambda edit: next(texts)) == prompt
    assert replaced(prompt, edits, lambda edit: None) == prompt


@given(st.text(alphabet="[]()|:\\a0.5 \nrefinrAND<>lo"), st.booleans())
def test_no_text_is_ever_lost(prompt: str, negative: bool):
    edits = find_edits(prompt, negative)
    assert all(prompt[edit.start : edit.end] == edit.text for edit in edits)
    assert edits == sorted(edits, key=lambda edit: edit.start)
    kept = "".join(replaced(prompt, edits, lambda edit: "\0").split("\0"))
    assert len(kept) == len(prompt) - sum(len(edit.text) for edit in edits)
