"""Recipe original against single denoiser calls of the original extensions (``tests/recorded/README.md``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.ops.schedules import SCHEDULES
from lib_sdfm.planning.plan import plan_of
from lib_sdfm.sampling.model_call import HostCounters, ModelCall
from lib_sdfm.sampling.plan import Plan, compose, guidance_scale
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.originals import OLD_ENTRIES
from lib_sdfm.schema.payload import resolve_job

ENTRIES = {entry.title: entry for entry in OLD_ENTRIES}
WIDTH = 320
"""``model_channels`` of the UNet that FreeU ran in."""


def load() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The cases by name, and all tensors in float32."""
    path = Path(__file__).parents[1] / "recorded" / "originals.safetensors"
    with safe_open(path, "pt") as file:
        cases = json.loads(file.metadata()["cases"])
    return cases, {name: tensor.float() for name, tensor in load_file(path).items()}


CASES, TENSORS = load()
COUNTERS = ("lagging", "call", "calls", "run_call", "pass_steps", "job_steps", "job_cfg_scale")


def names(prefix: str) -> list[str]:
    found = [name for name in CASES if name.startswith(prefix)]
    assert found
    return found


def recorded_plan(name: str) -> Plan:
    """The plan that the posted payload means to us."""
    payloads = [(ENTRIES[title], args) for title, args in CASES[name]["payload"].items()]
    settings = resolve_job(SCHEMA, [], payloads).settings
    assert settings.recipe == "original"
    return plan_of(SCHEMA, SCHEMA.resolved(settings, ModelFacts()))


def calls_of(name: str) -> Iterator[tuple[dict[str, Any], ModelCall]]:
    """Return the record of each call, and its step."""
    for said in CASES[name]["calls"]:
        call = {**CASES[name]["common"], **said}
        host = HostCounters(**{counter: call[counter] for counter in COUNTERS if counter in call})
        # index, total and sigma are of no use to recipe original: out of range, so that their use would show
        yield call, ModelCall(-1000, 1, -1.0, -1.0, call["hires"], call["multiplier"], host)


def tensors_of(call: dict[str, Any]) -> dict[str, Tensor]:
    return {role: TENSORS[key] for role, key in call["tensors"].items()}


def combined(plan: Plan, call: dict[str, Any], step: ModelCall) -> Tensor:
    """Our result of a recorded call."""
    known, active = tensors_of(call), plan.active(step)
    prediction = Prediction(
        cond=known["cond"],
        uncond=known["uncond"],
        weights=torch.tensor(call["weights"]),
        images=torch.tensor(call["images"]),
        cfg_scale=guidance_scale(active, call["cond_scale"] * call["multiplier"], step),
        perturbed={"pag": known["perturbed"]} if "perturbed" in known else {},
    )
    return compose(active, prediction, step, lambda: prediction.uncond + prediction.sum_per_image(prediction.cfg_terms("CFG")))


def assert_same(got: Tensor, recorded: Tensor) -> None:
    torch.testing.assert_close(got, recorded, rtol=1e-5, atol=1e-5 * float(recorded.abs().max()))


@pytest.mark.parametrize("name", [*names("pag_batch2"), *names("dt_"), "pag"])
def test_the_combined_prediction_is_the_originals(name: str):
    plan = recorded_plan(name)
    for call, step in calls_of(name):
        assert_same(combined(plan, call, step), tensors_of(call)["result"])


@pytest.mark.parametrize("name", names("pag_sanf"))
def test_fusion_picks_what_the_original_picked(name: str):
    """Of the same two terms per element, in the sampler's own space; a tie may fall either way."""
    plan = recorded_plan(name)
    for call, step in calls_of(name):
        got, recorded = combined(plan, call, step), tensors_of(call)["result"]
        differs = (got - recorded).abs() > 1e-5 * recorded.abs().max()
        assert differs.sum() <= 1
        uncond, cfg = (
            tensors_of(call)["uncond"],
            guidance_scale(plan.active(step), call["cond_scale"] * call["multiplier"], step),
        )
        is_cfg = torch.isclose(recorded, uncond + cfg * (tensors_of(call)["cond"] - uncond), atol=1e-5)
        assert 0.1 < is_cfg.float().mean() < 0.9  # both were picked


def test_the_window_of_pag_is_the_originals():
    plan = recorded_plan("pag_window")
    guided = [call["guided"] for call, _ in calls_of("pag_window")]
    assert [bool(plan.active(step)) for _, step in calls_of("pag_window")] == guided
    assert guided == [False, False, False, True, True, False, False, False]


@pytest.mark.parametrize("name", names("schedule_"))
def test_the_cfg_scale_of_each_call_is_the_originals(name: str):
    plan = recorded_plan(name)
    for call, step in calls_of(name):
        scale = guidance_scale(plan.active(step), call["cond_scale"] * call["multiplier"], step)
        assert scale == pytest.approx(call["scale"], rel=3e-5, abs=1e-5)


def test_all_schedules_were_recorded():
    recorded = {CASES[name]["payload"]["Incantations"][17] for name in names("schedule_")}
    assert recorded == set(SCHEDULES)


@pytest.mark.parametrize("name", names("seg_"))
def test_blurred_queries_are_the_originals(name: str):
    (call, step), (seg,) = next(calls_of(name)), recorded_plan(name).techniques
    known = tensors_of(call)
    assert_same(seg.main_perturbation(step).query(known["queries"], tuple(call["grid"])), known["result"])


@pytest.mark.parametrize("name", names("freeu_"))
def test_decoder_features_are_the_originals(name: str):
    (call, step), (freeu,) = next(calls_of(name)), recorded_plan(name).techniques
    for edit in call["edits"]:
        skip_before, wanted_skip = TENSORS[edit["skip"]], TENSORS[edit["result_skip"]]
        h_before = TENSORS[edit["h"]] if "h" in edit else torch.zeros(1, WIDTH, *skip_before.shape[2:])
        h, skip = freeu.skip(h_before, skip_before, WIDTH, step)
        assert not torch.allclose(skip_before, wanted_skip)  # it did something
        assert_same(skip, wanted_skip)
        if "h" in edit:
            if h.shape[2:] != skip.shape[2:]:  # the host's own cut at odd sizes
                h = F.interpolate(h, skip.shape[2:], mode="nearest")
            wanted_h = TENSORS[edit["result_h"]]
            assert_same(h[:, edit["from"] : edit["from"] + wanted_h.shape[1]], wanted_h)
