"""Refiner sync in the demo: which edits of which prompts follow, wherever the prompts come from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from .switching import (
    AFTER,
    BEFORE,
    FIRST,
    HIRES,
    MARKED,
    NO_SYNC,
    REFINER,
    SECOND,
    SMALL,
    assert_reproducible,
    pasted,
    prompts_of,
)


class TestNumbers:
    NUMBERS = {"prompt": "[red:blue:0.5] circle", "negative_prompt": "[small:large:.50], star"}

    def test_equal_to_switch_at_they_follow(self, switching):
        answer, seen = switching.txt2img(**self.NUMBERS, **REFINER)
        assert seen.change == 3 and prompts_of(answer.text)["prompt"] == "[red:blue:2] circle"
        assert_reproducible(switching.host, answer, **REFINER)

    def test_not_with_the_option_off(self, shapes_host):
        plain = shapes_host.guided(NO_SYNC, **self.NUMBERS, **REFINER)
        answer = shapes_host.guided({"refiner_sync": {"numbers": False}}, **self.NUMBERS, **REFINER)
        assert np.array_equal(plain.pixels, answer.pixels)
        assert prompts_of(answer.text)["prompt"] == self.NUMBERS["prompt"] and "SDFM" not in answer.text

    def test_not_when_a_text_without_us_is_pasted(self, shapes_host):
        """Its picture was made with numbers that count steps."""
        plain = shapes_host.guided({"refiner_sync": {"numbers": False}}, **self.NUMBERS, **REFINER)
        assert np.array_equal(plain.pixels, pasted(shapes_host, plain.text).pixels)

    def test_others_stay(self, switching):
        others = {"prompt": "[red:blue:0.4] circle", "negative_prompt": "[small:large:1], star"}
        _, seen = switching.txt2img(**REFINER, **others)
        first, second = BEFORE[1:], AFTER[1:]
        assert [state[0] for state in seen.states] == [FIRST] * 3 + [SECOND] * 3
        assert [state[1] for state in seen.states] == [first[0]] * 3 + [second[0]] * 3  # 0.4 of 6 calls is 2: from call 3 on
        assert [state[2] for state in seen.states] == [first[1]] * 2 + [second[1]] * 4


@pytest.mark.parametrize(
    ("prompt", "before", "after", "stored"),
    [
        ("([red:blue:refiner]:1.3) circle", "(red:1.3) circle", "(blue:1.3) circle", "([red:blue:2]:1.3) circle"),
        ("[[red:blue:refiner]:star:refiner]", "red", "star", "[[red:blue:2]:star:2]"),
        ("[red::refiner] [:blue:refiner]", "red ", " blue", "[red::2] [:blue:2]"),
        ("[[red|red]:blue:refiner]", "red", "blue", "[[red|red]:blue:2]"),
        ("[red:blue: refiner ] (", "red (", "blue (", "[red:blue: 2 ] ("),
    ],
)
@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_nested_weighted_and_several(switching, field: str, prompt: str, before: str, after: str, stored: str):
    answer, seen = switching.txt2img(before, after, **REFINER, **{"prompt": "star", field: prompt})
    place = 1 if field == "prompt" else 2
    assert [(state[0], state[place]) for state in seen.states] == [(FIRST, before)] * 3 + [(SECOND, after)] * 3
    assert prompts_of(answer.text)[field] == stored


def test_and(shapes_host):
    plain = [shapes_host.txt2img(**SMALL, prompt=f"{colour} circle AND a star :0.5") for colour in ("red", "blue")]
    marked = {"prompt": "[red:blue:refiner] circle AND a star :0.5", **SMALL}
    ends = [shapes_host.txt2img(**marked, refiner_checkpoint=SECOND, refiner_switch_at=1),
            shapes_host.txt2img(**marked, refiner_checkpoint=FIRST, refiner_switch_at=0)]  # fmt: skip
    assert [np.array_equal(one.pixels, other.pixels) for one, other in zip(plain, ends)] == [True, True]


class TestStyles:
    """They are in the prompts before we see them; the text shows what they made of the prompts."""

    @pytest.fixture
    def style(self, shapes_host):
        from modules import shared, styles

        marked = styles.PromptStyle("marked", "[red:blue:refiner] {prompt}", "[small:large:refiner], star")
        shared.prompt_styles.styles["marked"] = marked
        yield "marked"
        del shared.prompt_styles.styles["marked"]

    def test_they_follow(self, switching, style: str):
        answer, seen = switching.txt2img(**REFINER, prompt="circle", styles=[style])
        assert seen.change == 3
        assert prompts_of(answer.text) == {"prompt": "[red:blue:2] circle", "negative_prompt": "[small:large:2], star"}
        assert_reproducible(switching.host, answer, **REFINER)

    def test_in_the_hires_pass(self, switching, style: str):
        answer, seen = switching.txt2img(**REFINER, **HIRES, prompt="circle", styles=[style])
        assert seen.of_pass(0).change is None and seen.of_pass(1).change is not None
        assert_reproducible(switching.host, answer, **REFINER, **HIRES)

    def test_a_job_without_marks_but_in_its_style(self, switching, style: str):
        fields = {**REFINER, "prompt": "circle"}
        assert "SDFM" not in switching.txt2img(**fields)[0].text
        assert np.array_equal(
            switching.host.txt2img(**fields, styles=[style]).pixels, switching.host.txt2img(**MARKED, **REFINER).pixels
        )


class TestScripts:
    def run(self, switching, name: str, args: list, **fields):
        """The texts of a script's pictures, and the calls of the UNet."""
        answer, seen = switching.txt2img("", script_name=name, script_args=args, **fields)
        return json.loads(answer.body["info"])["infotexts"], seen

    def plot(self, switching, axis: str, values: str, **fields):
        choices = next(s for s in switching.host.get("script-info") if s["name"] == "x/y/z plot")["args"][0]["choices"]
        axes = [choices.index(axis), values, [], 0, "", [], 0, "", []]
        args = [*axes, False, True, False, True, False, False, False, 0, False]
        return self.run(switching, "x/y/z plot", args, **{**MARKED, **REFINER, **fields})

    def test_a_plot_over_switch_at(self, switching):
        """Cells of a plot share the generation parameters, and each has its own numbers."""
        texts, _ = self.plot(switching, "Refiner switch at", "0.5, 0")
        assert [prompts_of(text)["prompt"] for text in texts[-2:]] == ["[red:blue:2] circle", "[red:blue:0] circle"]

    def test_a_plot_over_samplers(self, switching):
        texts, seen = self.plot(switching, "Sampler", "Euler, Heun")
        assert seen.states[:6] == [BEFORE] * 3 + [AFTER] * 3 and {*seen.states[6:]} == {BEFORE, AFTER}
        first, second = (prompts_of(text)["prompt"] for text in texts[-2:])
        assert first == "[red:blue:2] circle" != second

    def test_a_plot_that_replaces_words(self, switching):
        """Also the word that makes an edit follow."""
        texts, seen = self.plot(switching, "Prompt S/R", ":refiner, :4")
        assert seen.states[:6] == [BEFORE] * 3 + [AFTER] * 3
        model, prompts = [state[0] for state in seen.states[6:]], [state[1] for state in seen.states[6:]]
        assert model == [FIRST] * 3 + [SECOND] * 3 and prompts == ["red circle"] * 5 + ["blue circle"]
        assert [prompts_of(text)["prompt"] for text in texts[-2:]] == ["[red:blue:2] circle", "[red:blue:4] circle"]

    def test_prompts_from_a_text_box(self, switching):
        """One job after the other, with a copy of the same processing object."""
        lines = [
            MARKED["prompt"],
            '--prompt "red circle" --negative_prompt "[small:large:refiner], star"',
            f'--prompt "{MARKED["prompt"]}" --negative_prompt "{MARKED["negative_prompt"]}" --steps 4',
        ]
        name, args = "prompts from file or textbox", [False, False, "start", "\n".join(lines)]
        texts, seen = self.run(switching, name, args, **{**REFINER, "prompt": ""})
        assert seen.states[:6] == [(*BEFORE[:2], "")] * 3 + [(*AFTER[:2], "")] * 3
        assert seen.states[6:12] == [BEFORE] * 3 + [(SECOND, BEFORE[1], AFTER[2])] * 3
        assert seen.states[12:] == [BEFORE] * 2 + [AFTER] * 2
        assert [prompts_of(text)["prompt"] for text in texts] == ["[red:blue:2] circle", "red circle", "[red:blue:1] circle"]


class TestNothingIsTouched:
    def test_without_a_refiner(self, shapes_host):
        for prompt in (MARKED["prompt"], "[red:blue:0.5] circle"):
            plain, ours = (shapes_host.guided(*args, **SMALL, prompt=prompt) for args in ((NO_SYNC,), ()))
            assert np.array_equal(plain.pixels, ours.pixels) and plain.text == ours.text and "SDFM" not in ours.text

    @pytest.mark.parametrize(
        "prompt", ["[red:blue:refiner circle", "red:blue:refiner] x", "a|b [red:blue:refiner]", "(a:b:refiner)"]
    )
    def test_of_malformed_prompts(self, shapes_host, prompt: str):
        plain, ours = (shapes_host.guided(*args, **REFINER, prompt=prompt) for args in ((NO_SYNC,), ()))
        assert np.array_equal(plain.pixels, ours.pixels) and plain.text == ours.text
        assert ours.text.startswith(prompt)

    def test_when_it_is_off_and_the_text_says_so(self, shapes_host):
        answer = shapes_host.guided(NO_SYNC, **MARKED, **REFINER)
        assert answer.text.startswith(MARKED["prompt"]) and "Refiner Sync: False, SDFM: 1" in answer.text
        assert np.array_equal(pasted(shapes_host, answer.text).pixels, answer.pixels)
