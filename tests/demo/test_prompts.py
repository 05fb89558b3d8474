"""Prompts in the demo: editing, AND, emphasis; and at which call of the denoiser an edit happens."""

import pytest
import torch


def schedule(prompt, steps=10, hires_steps=None):
    from modules.prompt_parser import get_learned_conditioning_prompt_schedules

    return get_learned_conditioning_prompt_schedules([prompt], steps, hires_steps)[0]


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("plain", [[10, "plain"]]),
        ("a [b:4] c", [[4, "a  c"], [10, "a b c"]]),
        ("a [b: c :0.5]", [[5, "a b"], [10, "a  c "]]),
        ("[x::3]y", [[3, "xy"], [10, "y"]]),
        ("p[q:[r:s:6]:2]t", [[2, "pqt"], [6, "prt"], [10, "pst"]]),
        ("[(w:1.3):7]", [[7, ""], [10, "(w:1.3)"]]),
        ("open [bracket", [[10, "open [bracket"]]),
        ("[to|fro]", [[step, "to" if step % 2 else "fro"] for step in range(1, 11)]),
    ],
)
def test_editing(host, prompt, expected):
    assert schedule(prompt) == expected


def test_numbers_in_the_hires_pass_go_on_from_the_first(host):
    assert schedule("a [b:.4]", 10, 10) == [[10, "a b"]]
    assert schedule("a [b:1.5]", 10, 10) == [[5, "a "], [10, "a b"]]
    assert schedule("a [b:14]", 10, 10) == [[4, "a "], [10, "a b"]]


def test_an_edit_at_2_happens_at_the_fourth_call(host):
    with host.calls() as calls:
        host.txt2img(prompt="[red:blue:2] house", steps=6)
    conds = [call.text_cond for call in calls]
    changed = [i for i in range(1, 6) if not torch.equal(conds[i], conds[i - 1])]
    assert changed == [3]


def test_edits_count_calls_not_steps(host):
    with host.calls() as calls:
        host.txt2img(prompt="[red:blue:0.5] house", steps=4, sampler_name="Heun")
    conds = [call.text_cond for call in calls]
    assert [i for i in range(1, len(conds)) if not torch.equal(conds[i], conds[i - 1])] == [5]  # of 8 expected calls


def test_weights_of_and(host):
    from modules.prompt_parser import get_multicond_learned_conditioning, reconstruct_multicond_batch
    from modules.shared import sd_model

    rows, conds = reconstruct_multicond_batch(get_multicond_learned_conditioning(sd_model, ["a :1.5 AND b AND a :-1"], 5), 0)
    assert rows == [[(0, 1.5), (1, 1.0), (2, -1.0)]] and conds.shape[0] == 3
    assert torch.equal(conds[0], conds[2])


def test_emphasis(host):
    from modules.prompt_parser import parse_prompt_attention

    assert parse_prompt_attention("one (two:1.5) [three] \\(four\\)") == [
        ["one ", 1.0], ["two", 1.5], [" ", 1.0], ["three", 1 / 1.1], [" (four)", 1.0],
    ]  # fmt: skip
    assert parse_prompt_attention("((x)) BREAK y") == [["x", 1.1 * 1.1], ["", 1.0], ["BREAK", -1], ["y", 1.0]]


def test_prompts_emphasis_and_clip_skip_change_the_picture(host):
    answers = [host.txt2img(prompt=prompt).pixels for prompt in ("a red house", "a blue house", "a (red:1.6) house")]
    answers.append(host.txt2img(override_settings={"CLIP_stop_at_last_layers": 2}).pixels)
    for i, one in enumerate(answers):
        assert all((one != other).any() for other in answers[i + 1 :])
