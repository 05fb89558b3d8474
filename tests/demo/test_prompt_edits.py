"""Our reading of prompt editing, compared with a host's own grammar and conds."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_sdfm.prompts.edits import find_edits, replaced
from lib_sdfm.prompts.numbers import ALWAYS, NEVER, Timeline
from tests.prompts.texts import well_formed

RELAXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


def edits_of_host(prompt: str) -> list[tuple[int, str]]:
    import lark
    from modules.prompt_parser import PARSER

    try:
        tree = PARSER.parse(prompt)
    except lark.exceptions.LarkError:
        return []
    return sorted((edit.children[-2].start_pos, str(edit.children[-2])) for edit in tree.find_data("edit"))


@RELAXED
@given(prompt=well_formed())
def test_the_hosts_grammar_sees_the_same_edits(host, prompt: str):
    assert [(edit.start, edit.text) for edit in find_edits(prompt, negative=True)] == edits_of_host(prompt)


@pytest.mark.parametrize(
    "prompt", ["a|b [c:d:5]", "[a:b:5] \\", "[a ) b:c:5]", "(a:b:c) [d:e:5]", "[a:b:c:5]", "[x [a:b:c] [q:w:3] y:z:5]"]
)
def test_of_malformed_prompts_too(host, prompt: str):
    assert [(edit.start, edit.text) for edit in find_edits(prompt, negative=True)] == edits_of_host(prompt)


def texts_at(schedule: list, calls: int) -> list[str]:
    """The text that each call sees, by the rule with which the host picks conds."""
    from modules.prompt_parser import ScheduledPromptConditioning, _at

    entries = [ScheduledPromptConditioning(end, text) for end, text in schedule]
    return [_at(entries, call) for call in range(calls)]


@RELAXED
@given(
    number=st.integers(-2, 40).map(str) | st.floats(0, 2.5).map(lambda share: f"{share:.3f}"), calls=st.integers(1, 16),
    base=st.none() | st.integers(1, 16), old=st.booleans(),
)  # fmt: skip
def test_numbers_change_a_prompt_where_we_say(host, number: str, calls: int, base: int | None, old: bool):
    """``base``: denoiser calls of the first pass, where this one is the hires pass."""
    from modules.prompt_parser import get_learned_conditioning_prompt_schedules

    steps = (calls, None) if base is None else (base, calls)
    (schedule,) = get_learned_conditioning_prompt_schedules([f"[a:b:{number}]"], *steps, old)
    counted = (calls if base is None else base) if old else calls
    change = Timeline(counted, 0 if old else base or 0, old).change(number)
    seen = texts_at(schedule, counted)
    assert seen == ["a"] * (counted if change is None else min(change, counted)) + ["b"] * seen.count("b")


@RELAXED
@given(prompt=well_formed(st.just("refiner")), calls=st.integers(2, 8), hires=st.none() | st.integers(2, 8))
def test_the_two_prompts_have_one_text_each(host, prompt: str, calls: int, hires: int | None):
    """... for all calls of either pass, if nothing else changes in them; and never a number of ours in it."""
    from modules.prompt_parser import get_learned_conditioning_prompt_schedules

    edits = find_edits(prompt, negative=True)
    for number in (NEVER, ALWAYS):
        variant = replaced(prompt, edits, lambda edit, number=number: number)
        (schedule,) = get_learned_conditioning_prompt_schedules([variant], calls, hires, False)
        assert not any(NEVER in text for _, text in schedule)
        assert "|" in prompt or len(schedule) == 1
