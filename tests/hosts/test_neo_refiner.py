"""A refiner that takes over at a noise level, that keeps the prompts, and that gives way to a hires pass: Forge Neo's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from lib_sdfm.hosts.refiner import SWITCH_AT, RefinerPrompts, RefinerRule
from lib_sdfm.prompts.report import Expected, ExpectedCall, report
from lib_sdfm.techniques.refiner_sync import RefinerSync, RefinerSyncSettings
from sdfm_webui.errors import SdfmError
from sdfm_webui.expectation import HostSchedule
from sdfm_webui.job import begin_batch
from tests.hosts.fake_neo import NeoHost
from tests.hosts.jobs import SdfmScript, job, unet_for
from tests.hosts.variety import Variety

BY_SIGMA = RefinerRule(by_sigma=True, beside_hires=False, zero_is_off=True)
BY_STEPS = dataclasses.replace(BY_SIGMA, by_sigma=False)
CALLS = [ExpectedCall(step, 1 - step / 4, step / 4) for step in range(4)]


class Script(SdfmScript):
    """SDFM in a host with this rule."""

    rule = BY_SIGMA

    def process_batch(self, p: Any, *args: Any) -> None:
        begin_batch(self.schema, p, args, dataclasses.replace(self.objects, refiner_rule=lambda: self.rule))


@pytest.fixture
def host() -> NeoHost:
    host = NeoHost(unet_for(Variety()), Variety())
    host.sdfm = Script(host)
    return host


def with_refiner(host: NeoHost, request: dict | None = None, prompt: str = "[red:blue:refiner] house", **settings: Any) -> Any:
    p = job(host, request, cfg_scale=5.0, **settings)
    p.refiner_checkpoint_info, p.refiner_switch_at = "second", 0.875
    p.prompts, p.negative_prompts = [prompt], ["blurry"]
    p.all_prompts, p.all_negative_prompts = list(p.prompts), list(p.negative_prompts)
    return p


def test_prompts_that_the_host_would_not_encode_again_are_refused(host: NeoHost):
    plain = host.run(job(host))
    host.sdfm.rule = dataclasses.replace(BY_SIGMA, keeps_conds=True)
    with pytest.raises(SdfmError, match="Refiner sync: with this WebUI's option .Reload .state_dict. Only"):
        host.run(with_refiner(host))
    with pytest.raises(SdfmError, match="NAG: with this WebUI's option"):
        host.run(with_refiner(host, {"nag": {}}, "house"))
    assert torch.equal(host.run(job(host)), plain)


@pytest.mark.parametrize("request_", [None, {"pag": {}}])
def test_what_needs_no_prompts_of_the_refiner_is_left_alone(host: NeoHost, request_: dict | None):
    host.sdfm.rule = dataclasses.replace(BY_SIGMA, keeps_conds=True)
    assert host.run(with_refiner(host, request_, "house")).isfinite().all()


def test_beside_a_hires_pass_a_comment_says_that_nothing_switches(host: NeoHost):
    p = with_refiner(host, enable_hr=True)
    begin = host.sdfm.process_batch
    begin(p)
    assert any("refiner does nothing with a hires pass" in comment for comment in p.comments)
    p = with_refiner(host)
    begin(p)
    assert not p.comments


@pytest.mark.parametrize("rule", [BY_SIGMA, BY_STEPS, RefinerRule()])
def test_from_the_start_is_from_the_start(host: NeoHost, rule: RefinerRule):
    """As the host asks: with its noise level, or its share of calls, and 0 is no refiner."""
    p = with_refiner(host)
    prompts = RefinerPrompts(RefinerSync(RefinerSyncSettings(from_start=True), "sdfm"), p, False, rule)
    assert prompts.moves_switch()
    prompts.attach()
    switch_at = p.refiner_switch_at
    reached = switch_at >= 14.6 if rule.by_sigma else switch_at <= 0
    assert reached and (bool(switch_at) or not rule.zero_is_off)
    p.extra_generation_params[SWITCH_AT] = switch_at
    prompts.sample(lambda: None)
    assert p.extra_generation_params[SWITCH_AT] == 0 and p.refiner_switch_at == 0.875


def said(expected: Expected, switch_at: float) -> str:
    return report({"prompt": ("[a:b:refiner]", False)}, switch_at, lambda when: True, expected).text


def test_the_line_tells_the_step_of_a_noise_level():
    expected = Expected("run", 4, CALLS, by_sigma=True)
    assert said(expected, 0.875) == "Model and prompt switch at step 2 of 4 of the run (sigma 0.75)."
    assert said(expected, 0.2).startswith(
        "Model and prompt never switch in the run (4 steps): no step starts at or below noise level 0.2"
    )
    assert "step 1 of 4" in said(expected, 0)
    unknown = Expected("run", unknown="no checkpoint is loaded yet", by_sigma=True)
    assert said(unknown, 0.875).startswith("Model and prompt switch at noise level 0.875; the step can't be told")


@pytest.mark.parametrize(("values", "rule", "why"), [
    ({"hires": True}, BY_SIGMA, "does nothing with a hires pass"),
    ({"switch_at": 0}, BY_STEPS, "“Switch at” 0 switches"),
])  # fmt: skip
def test_the_line_tells_why_it_never_switches(values: Mapping[str, Any], rule: RefinerRule, why: str):
    schedule = HostSchedule(None, None, lambda: None, None, goes_by_calls=True, rule=lambda: rule)
    found = schedule({"switch_at": 0.5, "from_start": False, "hires": False, **values})
    assert said(found, 0.5).startswith("Model and prompt never switch: ") and why in said(found, 0.5)
    from_start = schedule({"switch_at": 0, "from_start": True, "hires": False})
    assert not from_start.never and from_start.unknown and from_start.by_sigma is rule.by_sigma
