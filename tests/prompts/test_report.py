"""Lines of the panel about a refiner and the prompts."""

from __future__ import annotations

from lib_sdfm.prompts.edits import MARK
from lib_sdfm.prompts.report import Expected, ExpectedCall, report

STEPS = Expected("run", 4, [ExpectedCall(step, 8.0 / 2**step, step / 4) for step in range(4)])
TWICE = Expected("hires pass", 2, [ExpectedCall(0, 8, 0.0), ExpectedCall(0, 4, 0.5), ExpectedCall(1, 2, 0.7)])
THRICE = Expected("run", 1, [ExpectedCall(0, 8, 0.0), ExpectedCall(0, 4, 0.2), ExpectedCall(0, 2, 0.5)])


def said(prompt: str, switch_at: float | None = 0.5, expected: Expected = STEPS, negative: str = ""):
    texts = {"prompt": (prompt, False), "negative prompt": (negative, True)}
    return report(texts, switch_at, lambda when: when in (MARK, "0.5"), expected)


def test_step_and_noise_level_of_the_switch():
    assert said("[a:b:refiner]").text == "Model and prompt switch at step 3 of 4 of the run (sigma 2)."
    both = said("[a:b:refiner]", negative="[c:d:0.5]")
    assert both.text.startswith("Model and prompt and negative prompt switch at step 3")
    assert {name: [edit.text for edit in found] for name, found in both.following.items()} == {
        "prompt": [], "negative prompt": ["0.5"],
    }  # fmt: skip


def test_the_second_and_the_third_call_of_a_step():
    assert "step 1 of 2 of the hires pass (sigma 4), in its second model call." in said("[a:b:0.5]", expected=TWICE).text
    assert "step 1 of 1 of the run (sigma 2), in its third model call." in said("[a:b:0.5]", expected=THRICE).text


def test_a_switch_that_never_comes_and_one_that_nobody_can_tell():
    assert "never" in said("[a:b:refiner]", switch_at=0.9).text
    unknown = Expected("hires pass", unknown="no checkpoint is loaded yet")
    assert said("[a:b:refiner]", expected=unknown).text == (
        "Model and prompt switch at 0.5 of the hires pass; the step can't be told in advance: no checkpoint is loaded yet."
    )


def test_a_refiner_that_is_the_checkpoint_itself():
    same = Expected("run", same_model=True)
    assert said("plain", expected=same).text == "The refiner is the checkpoint itself: no model switches in the run."
    assert said("[a:b:refiner]", expected=same).text.endswith("and the second prompt applies from the start in the prompt.")


def test_what_does_not_follow():
    report = said("[a:b:refiner] [c:d:0.3]", negative="[e:f:0.4], [g:h:12]")
    assert "“:0.4]”, “:12]” in the negative prompt does not follow the refiner." in report.text
    assert [edit.text for edit in report.fixes["negative prompt"]] == ["0.4", "12"] and "prompt" not in report.fixes
    assert "No prompt follows" in said("plain").text


def test_without_a_refiner_nothing_is_said_but_that_marks_stay():
    assert said("[a:b:0.5]", switch_at=None).text == ""
    marked = said("[a:b:refiner]", switch_at=None)
    assert "no refiner" in marked.text and not marked.following and not marked.fixes
