"""Refiner sync in the demo with the shipped models: model and prompts change in the same call of the UNet."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from tests.pairs import in_pairs, in_turn

from .switching import (
    AFTER,
    BEFORE,
    FIRST,
    FLOW,
    HIRES,
    MARKED,
    NO_SYNC,
    REFINER,
    SECOND,
    SMALL,
    VALUES,
    Seen,
    assert_reproducible,
    pasted,
    prompts_of,
)

HALF = 500
"""The model's time at which "Switch at" 0.5 has come where the host goes by it, give or take what it rounds."""
BY_STEPS = {"by the model's time": False, "by steps": True}
RULES = pytest.mark.parametrize("by_steps", BY_STEPS.values(), ids=BY_STEPS)
PASSES = ["first pass", "second pass", "both passes"]


def rule(by_steps: bool) -> dict:
    return {"refiner_switch_by_sample_steps": by_steps}


def assert_half_over(seen: Seen) -> None:
    """The switch came at the first call past half of the model's time."""
    change = seen.change
    assert change is not None and seen[change].timestep <= HALF
    assert all(call.timestep >= HALF - 1 for call in seen[:change])


def samplers(host) -> dict[str, int]:
    """The host's samplers and ours, with the calls that the host expects of a step."""
    return {item["name"]: 2 if item["options"].get("second_order") == "True" else 1 for item in host.get("samplers")}


@RULES
def test_with_every_sampler(switching, expected, by_steps: bool):
    """It is the call that the panel has told; stored prompts have plain numbers, or say why not."""
    from modules import shared

    shared.opts.data.update(rule(by_steps))
    for name, calls_per_step in samplers(switching.host).items():
        fields = {**REFINER, "sampler_name": name}
        answer, seen = switching.txt2img(**MARKED, **fields)
        told = expected({**VALUES, "sampler": name})
        assert name == "DPM adaptive" if told.unknown else told.switch(0.5) == seen.change, name
        if by_steps:
            assert seen.change == math.ceil(SMALL["steps"] * calls_per_step / 2), name
        else:
            assert_half_over(seen)
            assert_stored(switching.host, answer, seen, **fields)


def assert_stored(host, answer, seen: Seen, **fields) -> None:
    """No number changes a prompt at the second call, and none where more calls come than the host expects."""
    name = fields["sampler_name"]
    if "Refiner Sync" in answer.text:
        assert name == "DPM adaptive" or seen.change == 1, name
        assert MARKED["prompt"] in answer.text
        assert np.array_equal(pasted(host, answer.text).pixels, answer.pixels), name
    else:
        plain = host.guided(NO_SYNC, **{**fields, **prompts_of(answer.text)})
        assert np.array_equal(plain.pixels, answer.pixels), name


@RULES
def test_with_every_schedule(switching, by_steps: bool):
    for schedule in switching.host.get("schedulers"):
        _, seen = switching.txt2img(**MARKED, **REFINER, scheduler=schedule["label"], override_settings=rule(by_steps))
        assert seen.change == 3 if by_steps else seen.change is not None, schedule["label"]
        if not by_steps:
            assert_half_over(seen)


def test_with_both_models_in_memory(switching):
    """Each has modules of its own then."""
    from modules import sd_models

    settings = {"sd_checkpoints_limit": 2}
    sd_models.forget_models()
    sd_models.reload_model_weights()
    answer, seen = switching.txt2img(**MARKED, **REFINER, override_settings=settings)
    assert seen.change == 3
    assert_reproducible(switching.host, answer, **REFINER)
    sd_models.forget_models()
    sd_models.reload_model_weights()


class TestHires:
    @in_pairs(which=PASSES, by_steps=BY_STEPS, early_conds={"own conds": False, "early conds": True})
    def test_passes(self, switching, which: str, by_steps: bool, early_conds: bool):
        settings = {"hires_fix_refiner_pass": which, "hires_fix_use_firstpass_conds": early_conds, **rule(by_steps)}
        fields = {**REFINER, **HIRES, "override_settings": settings}
        answer, seen = switching.txt2img(**MARKED, **fields)
        changes = [seen.of_pass(number).change for number in (0, 1)]
        assert [change is not None for change in changes] == [which != "second pass", which != "first pass"]
        if by_steps:
            assert set(changes) <= {None, 3}
        if "Refiner Sync" in answer.text:
            assert 1 in changes
        elif by_steps and not early_conds:
            assert_reproducible(switching.host, answer, **fields)

    def test_prompts_of_its_own(self, switching):
        own = {"hr_prompt": "[green:white:refiner] star", "hr_negative_prompt": "[left:right:refiner]"}
        texts = "green star", "white star", "left", "right"
        answer, seen = switching.txt2img(*texts, **MARKED, **REFINER, **HIRES, **own)
        assert set(seen.of_pass(0).states) == {BEFORE}
        assert set(seen.of_pass(1).states) == {(FIRST, "green star", "left"), (SECOND, "white star", "right")}
        assert_reproducible(switching.host, answer, **REFINER, **HIRES)

    def test_a_checkpoint_of_its_own_that_is_the_refiners(self, switching):
        _, seen = switching.txt2img(**MARKED, **REFINER, **HIRES, hr_checkpoint_name=SECOND)
        assert set(seen.of_pass(0).states) == {BEFORE} and set(seen.of_pass(1).states) == {AFTER}

    def test_several_batches_of_both_passes(self, switching):
        settings = {"hires_fix_refiner_pass": "both passes"}
        _, seen = switching.txt2img(**MARKED, **REFINER, **HIRES, n_iter=2, override_settings=settings)
        first, second = seen.of_pass(0).states, seen.of_pass(1).states
        for states in (first, second):
            half = len(states) // 2
            assert states[:half] == states[half:] and set(states) == {BEFORE, AFTER}


@RULES
def test_in_img2img(switching, by_steps: bool):
    picture = Image.new("RGB", (96, 96), "red")
    for strength in (0.5, 1.0):
        with switching.watched() as seen:
            answer = switching.host.img2img(
                picture, **MARKED, **{**REFINER, "steps": 10}, denoising_strength=strength, n_iter=2,
                override_settings=rule(by_steps),
            )  # fmt: skip
        half = len(seen) // 2
        changes = [Seen(calls).change for calls in (seen[:half], seen[half:])]
        assert answer.status == 200 and changes[0] == changes[1] is not None
        if not by_steps:
            assert_half_over(Seen(seen[:half]))


def test_several_batches_of_several_pictures(switching):
    answer, seen = switching.txt2img(**MARKED, **REFINER, batch_size=2, n_iter=2)
    assert [Seen(calls).change for calls in (seen[:6], seen[6:])] == [3, 3]
    assert answer.body["info"].count("[red:blue:2] circle") >= 4
    assert "refiner]" not in answer.body["info"].split('"prompt"')[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"refiner_switch_at": 0},
        {"refiner_checkpoint": FIRST},
        {"alwayson_scripts": {"SDFM": {"args": [{"refiner_sync": {"from_start": True}}]}}},
    ],
    ids=["switch at 0", "the same checkpoint", "our control"],
)
def test_the_second_prompt_from_the_first_call_on(switching, fields: dict):
    answer, seen = switching.txt2img(**{**MARKED, **REFINER, **fields})
    assert set(seen.states) == {(fields.get("refiner_checkpoint", SECOND), *AFTER[1:])} and "[red:blue:0] circle" in answer.text
    assert ("Refiner Sync Start: True" in answer.text) == ("alwayson_scripts" in fields)
    assert np.array_equal(pasted(switching.host, answer.text).pixels, answer.pixels)


def test_a_switch_that_never_comes_leaves_the_first_prompt(switching):
    answer, seen = switching.txt2img(**{**MARKED, **REFINER, "refiner_switch_at": 1})
    assert set(seen.states) == {BEFORE} and "Refiner" not in answer.text
    assert_reproducible(switching.host, answer, **SMALL)


TAMED = {"dynamic_thresholding": {"mimic_scale": 1}}


@pytest.mark.parametrize("request_", [{"pag": {}}, {"seg": {}, "freeu": {}}, TAMED], ids=str)
def test_guidance_goes_on_through_the_switch(switching, request_: dict):
    """Predictions with changed attention are made of the prompt's rows, by the model of the moment."""
    args = {"alwayson_scripts": {"SDFM": {"args": [request_]}}}
    answer, seen = switching.txt2img(**MARKED, **REFINER, **args)
    changed = [call.state for call in seen if call.state[1] == call.state[2]]
    assert Seen(call for call in seen if call.state not in changed).change == 3
    extra = [(model, text, text) for model, text, _ in (BEFORE, AFTER)]
    assert changed == ([extra[0]] * 3 + [extra[1]] * 3 if {"pag", "seg"} & set(request_) else [])
    plain, _ = switching.txt2img(**MARKED, **REFINER)
    assert not np.array_equal(answer.pixels, plain.pixels)
    assert "[red:blue:2] circle" in answer.text and "Refiner Sync" not in answer.text and "SDFM: 1" in answer.text


TAMED = {"dynamic_thresholding": {"mimic_scale": 1}}


@pytest.mark.parametrize("request_", [{"pag": {"start_step": 3}}, {"seg": {"start_step": 3}}], ids=str)
def test_guidance_that_begins_after_the_switch_acts(switching, request_: dict):
    plain, _ = switching.txt2img(**MARKED, **REFINER)
    assert not np.array_equal(switching.host.guided(request_, **MARKED, **REFINER).pixels, plain.pixels)


class TestFlow:
    """From a flow model to one that predicts noise: the latent carries over where both know its noise level."""

    FIELDS = {**MARKED, **REFINER, "alwayson_scripts": {"SDFM": {"args": [{"flow": {}}]}}}

    @pytest.fixture
    def flow(self, switching):
        from modules import sd_models, shared

        shared.opts.data["sd_model_checkpoint"] = FLOW
        sd_models.reload_model_weights()
        return switching

    @in_turn(name=["Euler", "Heun", "Euler a", "DPM++ 2M SDE", "LMS", "DPM++ 2M", "DPM fast"], by_steps=BY_STEPS)
    def test_both_switch(self, flow, name: str, by_steps: bool):
        fields = {**self.FIELDS, "sampler_name": name, "override_settings": rule(by_steps)}
        answer, seen = flow.txt2img(**fields)
        change = seen.states.index(AFTER)
        assert seen.states == [(FLOW, *BEFORE[1:])] * change + [AFTER] * (len(seen) - change)
        if by_steps:
            assert change == (6 if name == "Heun" else 3)
        again = flow.host.post("/sdapi/v1/txt2img", {"infotext": answer.text})
        assert "Flow Matching: On" in answer.text and np.array_equal(again.pixels, answer.pixels)

    def test_dpm_adaptive_where_both_know_the_noise_level(self, flow):
        _, seen = flow.txt2img(**self.FIELDS, sampler_name="DPM adaptive")
        assert set(seen.states) == {(FLOW, *BEFORE[1:]), AFTER}

    @pytest.mark.parametrize(
        ("name", "why"),
        [("DPM adaptive", "none above 14.6. Set a later “Switch at”"), ("DDIM", "DDIM can't switch between")],
    )
    def test_what_can_not_be_is_refused_by_name(self, flow, name: str, why: str):
        """DPM adaptive makes many more calls than its steps: half of these is far up."""
        answer = flow.host.txt2img(**self.FIELDS, sampler_name=name, override_settings=rule(True))
        assert answer.status == 422 and why in answer.body["detail"]


class TestNothingStaysBehind:
    def assert_clean(self, seen: Seen) -> None:
        assert not {"sample", "setup_conds", "calculate_hr_conds"} & set(vars(seen.p))
        assert seen.p.refiner_switch_at == 0.5 and "999983" not in str(vars(seen.p).get("prompts"))

    @pytest.mark.parametrize("request_", [{}, {"pag": {"scale": 2}}, {"refiner_sync": {"from_start": True}}], ids=str)
    def test_after_a_job(self, switching, request_: dict):
        host = switching.host
        plain = host.txt2img(**SMALL)
        with switching.watched() as seen:
            host.guided(request_, **MARKED, **REFINER)
        self.assert_clean(seen)
        assert np.array_equal(host.txt2img(**SMALL).pixels, plain.pixels)

    @pytest.mark.parametrize("interrupted", [False, True])
    def test_after_errors_and_interrupts_in_a_call(self, switching, interrupted: bool):
        from modules import sd_samplers_cfg_denoiser as denoisers
        from modules.sd_samplers_common import InterruptedException

        whole = denoisers.CFGDenoiser._predict

        def fail(denoiser, *args):
            if denoiser.step == 4:
                raise InterruptedException if interrupted else RuntimeError("in the middle")
            return whole(denoiser, *args)

        with switching.watched() as seen, pytest.MonkeyPatch.context() as patched:
            patched.setattr(denoisers.CFGDenoiser, "_predict", fail)
            assert switching.host.txt2img(**MARKED, **REFINER).status == (200 if interrupted else 500)
        self.assert_clean(seen)
