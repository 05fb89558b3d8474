"""Techniques that can't act in a job are not written into its pictures, and a comment says why."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sdfm_webui.job_facts import facts_of_job
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import job, samples

KEYS = {"pag": "PAG Active", "seg": "SEG Active", "cfg_rescale": "CFG Rescale", "freeu": "FreeU Stages"}


def ran(host: Host, request: dict, **settings: Any) -> tuple[Any, Any]:
    p = job(host, request, **settings)
    return p, host.run(p)


@pytest.mark.parametrize(
    ("request_", "settings"),
    [
        ({"pag": {"start_step": 9, "end_step": 3}}, {}),
        ({"pag": {"start_step": 140}}, {}),
        ({"seg": {"start_step": 140}}, {}),
        ({"freeu": {"start": 0.9, "stop": 0.1}}, {}),
        ({"recipe": "original", "freeu": {"start": 0.9, "stop": 0.1}}, {}),
        ({"cfg_rescale": {}}, {"cfg_scale": 1.0}),
    ],
    ids=str,
)
def test_what_does_nothing_is_not_written_and_named(host: Host, request_: dict, settings: dict):
    p, result = ran(host, request_, **settings)
    name = next(name for name in request_ if name != "recipe")
    assert not set(p.extra_generation_params) & {*KEYS.values(), "SDFM", "SDFM Recipe"}
    assert "has no effect in this picture" in p.comments[0] and len(p.comments) == 1, name
    assert torch.equal(result, samples(host, **settings))


def test_the_rest_is_written_and_acts(host: Host):
    p, result = ran(host, {"pag": {}, "seg": {"start_step": 140}})
    assert "PAG Active" in p.extra_generation_params and "SEG Active" not in p.extra_generation_params
    assert torch.equal(result, samples(host, {"pag": {}}))


def test_segs_old_recipe_at_cfg_1(a1111: Host):
    p, _ = ran(a1111, {"recipe": "original", "seg": {}}, cfg_scale=1.0)
    assert "SEG Active" not in p.extra_generation_params and "CFG scale is 1" in p.comments[0]
    p, _ = ran(a1111, {"recipe": "original", "seg": {}, "pag": {"scale": 1, "sanf": True}}, cfg_scale=1.0)
    assert "SEG Active" in p.extra_generation_params and p.comments == []


def test_facts_are_read_from_the_job_and_the_options():
    p = SimpleNamespace(
        steps=20, cfg_scale=7.0, enable_hr=True, hr_second_pass_steps=0, hr_cfg=1.0, prompts=["a"], sampler_name="Euler",
        s_min_uncond=15.0,
    )  # fmt: skip
    facts = facts_of_job(p, SimpleNamespace(skip_early_cond=0.0, s_min_uncond_all=True))
    assert (facts.steps, facts.hires_steps, facts.cfg_scales, facts.has_hires) == (20, 20, (7.0, 1.0), True)
    assert "minimum sigma" in facts.without_uncond
    assert facts_of_job(p, SimpleNamespace(skip_early_cond=0.0, s_min_uncond_all=False)).without_uncond == ""
    assert "early" in facts_of_job(p, SimpleNamespace(skip_early_cond=1.0)).without_uncond
    assert facts_of_job(SimpleNamespace(), None).cfg_scales == ()


@pytest.mark.parametrize("name", ["apg", "fdg", "mahiro"])
def test_what_acts_on_guidance_at_cfg_1(host: Host, name: str):
    p, result = ran(host, {name: {}}, cfg_scale=1.0)
    assert "CFG scale is 1" in p.comments[0] and "SDFM" not in p.extra_generation_params
    assert torch.equal(result, samples(host, cfg_scale=1.0))
    p, result = ran(host, {name: {}, "pag": {}}, cfg_scale=1.0)
    assert len(p.comments) == 1 and torch.equal(result, samples(host, {"pag": {}}, cfg_scale=1.0))


def test_what_acts_on_guidance_under_a_schedule_from_cfg_1(a1111: Host):
    p, _ = ran(a1111, {"apg": {}, "cfg_schedule": {"schedule": "Linear"}}, cfg_scale=1.0)
    assert p.comments == [] and "SDFM APG Active" in p.extra_generation_params
