"""Refiner sync in the demo: at each call of the denoiser, which checkpoint and which prompts were used."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

FIRST, SECOND = "demo-first", "demo-second"
SMALL = {"width": 64, "height": 64, "steps": 6}
REFINER = {"refiner_checkpoint": SECOND, "refiner_switch_at": 0.5, **SMALL}
MARKED = {"prompt": "[red:blue:refiner] house", "negative_prompt": "[dark:light:refiner], blurry"}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.8}
BEFORE, AFTER = (FIRST, "red house", "dark, blurry"), (SECOND, "blue house", "light, blurry")
NO_SYNC = {"refiner_sync": False}


class Seen(list):
    """One entry per denoiser call: checkpoint, prompt and negative prompt. ``passes`` has the latent's width of each."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []
        self.p = None

    def of_pass(self, number: int) -> list[tuple]:
        width = sorted(set(self.passes))[number]
        return [state for state, seen in zip(self, self.passes) if seen == width]


@contextmanager
def watched(host, *texts: str):
    """What each denoiser call sees; texts are told by their conds."""
    from modules import shared

    known = {text: shared.sd_model.get_learned_conditioning([text])[0] for text in {*BEFORE[1:], *AFTER[1:], *texts}}
    seen = Seen()

    def text_of(cond: torch.Tensor) -> str:
        return next((text for text, own in known.items() if own.shape == cond.shape and torch.equal(own, cond)), "?")

    def look(params) -> None:
        name = shared.sd_model.sd_checkpoint_info.name_for_extra
        seen.append((name, text_of(params.text_cond[0]), text_of(params.text_uncond[0])))
        seen.passes.append(params.x.shape[-1])
        seen.p = params.denoiser.p

    with host.callback("cfg_denoiser", look):
        yield seen


def change_of(states: list[tuple]) -> int | None:
    """The call at which model and both prompts change together; ``None`` if they never do."""
    assert set(states) <= {BEFORE, AFTER}, states
    change = states.index(AFTER) if AFTER in states else None
    assert states == [BEFORE] * (len(states) if change is None else change) + [AFTER] * states.count(AFTER)
    return change


def prompts_of(text: str) -> dict:
    """The stored prompts, as a request."""
    from modules.infotext_utils import parse_generation_parameters

    said = parse_generation_parameters(text)
    names = {"Prompt": "prompt", "Negative prompt": "negative_prompt", "Hires prompt": "hr_prompt",
             "Hires negative prompt": "hr_negative_prompt"}  # fmt: skip
    return {name: said[key] for key, name in names.items() if said.get(key)}


def assert_reproducible(host, answer, **fields) -> None:
    """The stored prompts make the same picture, by the host alone too."""
    stored = {**fields, **prompts_of(answer.text)}
    for args in ((), (NO_SYNC,)):
        assert np.array_equal(host.guided(*args, **stored).pixels, answer.pixels), (args, stored)


def pasted(host, text: str):
    """The picture of a text alone."""
    return host.post("/sdapi/v1/txt2img", {"infotext": text})


def test_model_and_prompts_change_together_with_every_sampler(host):
    for sampler in host.get("samplers"):
        for by_steps in (False, True):
            fields = {"sampler_name": sampler["name"], "override_settings": {"refiner_switch_by_sample_steps": by_steps}}
            with watched(host) as seen:
                answer = host.txt2img(**MARKED, **REFINER, **fields)
            assert answer.status == 200 and not host.swallowed and change_of(seen) is not None, (sampler["name"], by_steps)
            if "Refiner Sync" not in answer.text:
                assert_reproducible(host, answer, **REFINER, **fields)
            else:
                assert sampler["name"] == "DPM adaptive" or change_of(seen) == 1
                assert "[red:blue:refiner] house" in answer.text


def test_with_every_schedule(host):
    for schedule in host.get("schedulers"):
        with watched(host) as seen:
            host.txt2img(**MARKED, **REFINER, scheduler=schedule["label"])
        assert change_of(seen) is not None, schedule["label"]


@pytest.mark.parametrize("by_steps", [False, True])
@pytest.mark.parametrize("which", ["first pass", "second pass", "both passes"])
def test_in_hires_passes(host, which: str, by_steps: bool):
    fields = {**REFINER, **HIRES, "steps": 8}
    settings = {"hires_fix_refiner_pass": which, "refiner_switch_by_sample_steps": by_steps}
    with watched(host) as seen:
        answer = host.txt2img(**MARKED, **fields, override_settings=settings)
    changes = [change_of(seen.of_pass(number)) for number in (0, 1)]
    assert [change is not None for change in changes] == [which != "second pass", which != "first pass"]
    if "Refiner Sync" not in answer.text:
        assert_reproducible(host, answer, **fields, override_settings=settings)
    else:
        assert 1 in changes


def test_prompts_of_the_hires_pass(host):
    fields = {**REFINER, **HIRES, "steps": 8, "hr_prompt": "[green:white:refiner] tree", "hr_negative_prompt": "[x:y:refiner]"}
    with watched(host, "green tree", "white tree", "x", "y") as seen:
        answer = host.txt2img(**MARKED, **fields)
    assert set(seen.of_pass(0)) == {BEFORE}
    assert set(seen.of_pass(1)) == {(FIRST, "green tree", "x"), (SECOND, "white tree", "y")}
    assert_reproducible(host, answer, **fields)


def test_a_hires_checkpoint_that_is_the_refiners_has_the_second_prompt(host):
    with watched(host) as seen:
        host.txt2img(**MARKED, **REFINER, **HIRES, hr_checkpoint_name=SECOND)
    assert set(seen.of_pass(0)) == {BEFORE} and set(seen.of_pass(1)) == {AFTER}


def test_in_img2img(host):
    picture = Image.new("RGB", (64, 64), "red")
    for strength in (0.5, 1.0):
        with watched(host) as seen:
            answer = host.img2img(picture, **MARKED, **{**REFINER, "steps": 10}, denoising_strength=strength, n_iter=2)
        half = len(seen) // 2
        assert answer.status == 200 and change_of(seen[:half]) == change_of(seen[half:]) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"refiner_switch_at": 0},
        {"refiner_checkpoint": FIRST},
        {"alwayson_scripts": {"SDFM": {"args": [{"refiner_sync": {"from_start": True}}]}}},
    ],
    ids=["switch at 0", "the same checkpoint", "our control"],
)
def test_the_second_prompt_from_the_first_call_on(host, fields: dict):
    with watched(host) as seen:
        answer = host.txt2img(**{**MARKED, **REFINER, **fields})
    assert {state[1:] for state in seen} == {AFTER[1:]} and "[red:blue:0] house" in answer.text
    assert ("Refiner Sync Start: True" in answer.text) == ("alwayson_scripts" in fields)
    assert pasted(host, answer.text).pixels.tolist() == answer.pixels.tolist()


def test_a_switch_that_never_comes_leaves_the_first_prompt(host):
    with watched(host) as seen:
        answer = host.txt2img(**{**MARKED, **REFINER, "refiner_switch_at": 1})
    assert set(seen) == {BEFORE} and "Refiner" not in answer.text
    assert_reproducible(host, answer, **SMALL)


class TestNumbers:
    NUMBERS = {"prompt": "[red:blue:0.5] house", "negative_prompt": "[dark:light:.50], blurry"}

    def test_equal_to_switch_at_they_follow(self, host):
        with watched(host) as seen:
            answer = host.txt2img(**self.NUMBERS, **REFINER)
        assert change_of(seen) == 3 and prompts_of(answer.text)["prompt"] == "[red:blue:2] house"
        assert_reproducible(host, answer, **REFINER)

    def test_not_with_the_option_off(self, host):
        plain = host.guided(NO_SYNC, **self.NUMBERS, **REFINER)
        answer = host.guided({"refiner_sync": {"numbers": False}}, **self.NUMBERS, **REFINER)
        assert np.array_equal(plain.pixels, answer.pixels)
        assert prompts_of(answer.text)["prompt"] == self.NUMBERS["prompt"] and "SDFM" not in answer.text

    def test_not_when_a_text_without_us_is_pasted(self, host):
        """Its picture was made with numbers that count steps."""
        plain = host.guided({"refiner_sync": {"numbers": False}}, **self.NUMBERS, **REFINER)
        again = pasted(host, plain.text)
        assert np.array_equal(plain.pixels, again.pixels)

    def test_others_stay(self, host):
        with watched(host, "blue house") as seen:
            host.txt2img(**{**REFINER, "prompt": "[red:blue:0.4] house", "negative_prompt": "[dark:light:1], blurry"})
        assert [state[0] for state in seen] == [FIRST] * 3 + [SECOND] * 3
        assert [state[1] for state in seen] == ["red house"] * 3 + ["blue house"] * 3  # 0.4 of 6 calls is 2: from call 3 on
        assert [state[2] for state in seen] == ["dark, blurry"] * 2 + ["light, blurry"] * 4


@pytest.mark.parametrize(
    ("prompt", "before", "after", "stored"),
    [
        ("([red:blue:refiner]:1.3) house", "(red:1.3) house", "(blue:1.3) house", "([red:blue:2]:1.3) house"),
        ("[[red:blue:refiner]:cat:refiner]", "red", "cat", "[[red:blue:2]:cat:2]"),
        ("[red::refiner] [:blue:refiner]", "red ", " blue", "[red::2] [:blue:2]"),
        ("[[red|red]:blue:refiner]", "red", "blue", "[[red|red]:blue:2]"),
        ("[red:blue: refiner ] (", "red (", "blue (", "[red:blue: 2 ] ("),
    ],
)
def test_nested_weighted_and_several(host, prompt: str, before: str, after: str, stored: str):
    with watched(host, before, after) as seen:
        answer = host.txt2img(**REFINER, prompt=prompt)
    assert [(model, text) for model, text, _ in seen] == [(FIRST, before)] * 3 + [(SECOND, after)] * 3
    assert prompts_of(answer.text)["prompt"] == stored


def test_and(host):
    plain = [host.txt2img(**SMALL, prompt=f"{colour} house AND a tree :0.5") for colour in ("red", "blue")]
    marked = {"prompt": "[red:blue:refiner] house AND a tree :0.5", **SMALL}
    ends = [host.txt2img(**marked, refiner_checkpoint=SECOND, refiner_switch_at=1),
            host.txt2img(**marked, refiner_checkpoint=FIRST, refiner_switch_at=0)]  # fmt: skip
    assert [np.array_equal(one.pixels, other.pixels) for one, other in zip(plain, ends)] == [True, True]


class TestNothingIsTouched:
    def test_without_a_refiner(self, host):
        for prompt in (MARKED["prompt"], "[red:blue:0.5] house"):
            plain, ours = (host.guided(*args, **SMALL, prompt=prompt) for args in ((NO_SYNC,), ()))
            assert np.array_equal(plain.pixels, ours.pixels) and plain.text == ours.text and "SDFM" not in ours.text

    @pytest.mark.parametrize(
        "prompt", ["[red:blue:refiner house", "red:blue:refiner] x", "a|b [red:blue:refiner]", "(a:b:refiner)"]
    )
    def test_of_malformed_prompts(self, host, prompt: str):
        plain, ours = (host.guided(*args, **REFINER, prompt=prompt) for args in ((NO_SYNC,), ()))
        assert np.array_equal(plain.pixels, ours.pixels) and plain.text == ours.text
        assert ours.text.startswith(prompt)

    def test_when_it_is_off_and_the_text_says_so(self, host):
        answer = host.guided(NO_SYNC, **MARKED, **REFINER)
        assert answer.text.startswith(MARKED["prompt"]) and "Refiner Sync: False, SDFM: 1" in answer.text
        assert np.array_equal(pasted(host, answer.text).pixels, answer.pixels)


class TestNothingStaysBehind:
    def assert_clean(self, seen: Seen) -> None:
        assert not {"sample", "setup_conds", "calculate_hr_conds"} & set(vars(seen.p))
        assert seen.p.refiner_switch_at == 0.5 and "999983" not in str(vars(seen.p).get("prompts"))

    @pytest.mark.parametrize("request_", [{}, {"pag": {"scale": 2}}, {"refiner_sync": {"from_start": True}}], ids=str)
    def test_after_a_job(self, host, request_: dict):
        plain = host.txt2img(**SMALL)
        with watched(host) as seen:
            host.guided(request_, **MARKED, **REFINER)
        self.assert_clean(seen)
        assert np.array_equal(host.txt2img(**SMALL).pixels, plain.pixels)

    @pytest.mark.parametrize("interrupted", [False, True])
    def test_after_errors_and_interrupts_in_a_call(self, host, interrupted: bool):
        from modules import sd_samplers_cfg_denoiser as denoisers
        from modules.sd_samplers_common import InterruptedException

        whole = denoisers.CFGDenoiser._predict

        def fail(denoiser, *args):
            if denoiser.step == 4:
                raise InterruptedException if interrupted else RuntimeError("in the middle")
            return whole(denoiser, *args)

        with watched(host) as seen, pytest.MonkeyPatch.context() as patched:
            patched.setattr(denoisers.CFGDenoiser, "_predict", fail)
            assert host.txt2img(**MARKED, **REFINER).status == (200 if interrupted else 500)
        self.assert_clean(seen)

    def test_of_a_batch_in_the_next(self, host):
        with watched(host) as seen:
            answer = host.txt2img(**MARKED, **REFINER, batch_size=2, n_iter=2)
        assert [change_of(seen[:6]), change_of(seen[6:])] == [3, 3]
        assert (
            answer.body["info"].count("[red:blue:2] house") >= 4 and "refiner]" not in answer.body["info"].split('"prompt"')[0]
        )


def test_guidance_goes_on_through_the_switch(host):
    fields = {**MARKED, **REFINER, "width": 128, "height": 128}
    plain = host.txt2img(**fields)
    for request in ({"pag": {"scale": 3, "start_step": 3}}, {"seg": {"start_step": 3}}, {"dynamic_thresholding": {}}):
        with watched(host) as seen:
            answer = host.guided(request, **fields)
        assert change_of(seen) == 3 and not np.array_equal(answer.pixels, plain.pixels), request
        assert "[red:blue:2] house" in answer.text and "Refiner Sync" not in answer.text and "SDFM: 1" in answer.text


def test_a_plot_over_switch_at(host):
    """Cells of a plot share the generation parameters, and each has its own numbers."""
    choices = next(s for s in host.get("script-info") if s["name"] == "x/y/z plot")["args"][0]["choices"]
    axes = [choices.index("Refiner switch at"), "0.5, 0", [], 0, "", [], 0, "", []]
    args = [*axes, False, True, False, True, False, False, False, 0, False]
    answer = host.txt2img(**MARKED, **REFINER, script_name="x/y/z plot", script_args=args)
    texts = json.loads(answer.body["info"])["infotexts"]
    assert [prompts_of(text)["prompt"] for text in texts[-2:]] == ["[red:blue:2] house", "[red:blue:0] house"]
