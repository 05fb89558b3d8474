"""Properties of every technique that takes CFG's place: it is plain CFG where nothing is guided, and images don't mix."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.memory import PassMemory
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.plan import Plan, compose
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.techniques.dynamic_thresholding import DynamicThresholding
from tests.hosts.jobs import new_forge, new_host, samples
from tests.support import noise_of
from tests.techniques.recorded_guidance import call, technique

COMBINING = [t.name for t in SCHEMA.techniques if issubclass(t, Technique) and t.combines()]
NEW = [name for name in COMBINING if name != DynamicThresholding.name]
MORE = {"fdg": [{"project": True}], "apg": [{"eta": 0.4}], "cfg_zero": [{"zero_steps": 0}]}
CHOSEN = [pytest.param(n, s, id=f"{n} {s or ''}") for n in COMBINING for s in [{}, *MORE.get(n, [])]]
SIZE = (4, 9, 6)
SIGMA = 2.0


def told(rows: list[tuple[int, float]], scale: float = 7.0) -> Prediction:
    """A prediction whose rows are of these images, with these weights."""
    images = torch.tensor([image for image, _ in rows])
    count = int(images.max()) + 1
    cond = torch.stack([noise_of(10 + image, *SIZE) for image, _ in rows]).double()
    uncond = torch.stack([noise_of(30 + image, *SIZE) for image in range(count)]).double()
    noisy = torch.stack([noise_of(50 + image, *SIZE) for image in range(count)]).double() * SIGMA
    return Prediction(cond, uncond, torch.tensor([w for _, w in rows], dtype=torch.float64), images, scale, noisy=noisy)


def picked(whole: Prediction, image: int) -> Prediction:
    rows = whole.images == image
    parts = {"cond": whole.cond[rows], "weights": whole.weights[rows], "images": whole.images[rows] * 0}
    return dataclasses.replace(whole, uncond=whole.uncond[image : image + 1], noisy=whole.noisy[image : image + 1], **parts)


def flow_call(index: int = 3, memory: PassMemory | None = None, **more: Any) -> ModelCall:
    return call(index=index, flow_model=True, memory=memory or PassMemory(), **more)


def combined(name: str, settings: dict, predictions: list[Prediction], **more: Any) -> Tensor:
    """The result of the last of some steps, as a run composes it."""
    one, memory = technique(name, **settings), PassMemory()
    results = [compose((one,), p, flow_call(i, memory, **more), lambda p=p: cfg(p)) for i, p in enumerate(predictions)]
    return results[-1]


def cfg(p: Prediction) -> Tensor:
    return p.uncond + p.sum_per_image(p.cfg_terms("CFG"))


@pytest.mark.parametrize(("name", "settings"), CHOSEN)
def test_a_batch_is_its_single_images(name: str, settings: dict):
    steps = [told([(0, 1.0), (1, 0.7), (1, 0.6), (2, 1.0)]), told([(0, 1.0), (1, 0.7), (1, 0.6), (2, 1.0)], 5.0)]
    batch = combined(name, settings, steps)
    singles = [combined(name, settings, [picked(step, image) for step in steps]) for image in range(3)]
    torch.testing.assert_close(batch, torch.cat(singles), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "settings"), CHOSEN)
def test_a_prompt_and_itself_is_that_prompt(name: str, settings: dict):
    once, twice = told([(0, 1.0), (1, 1.0)]), told([(0, 0.4), (0, 0.6), (1, 1.0)])
    torch.testing.assert_close(combined(name, settings, [twice]), combined(name, settings, [once]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "settings"), CHOSEN)
def test_without_a_difference_there_is_the_cond_prediction(name: str, settings: dict):
    """The host leaves out the unconditional prediction in some calls, and its place holds the conditional one."""
    if name in ("mahiro", "dynamic_thresholding", "cfg_zero"):
        settings, scale = {**settings, **({"phi": 0.5, "mimic_scale": 7.0} if "dynamic" in name else {})}, 1.0
    else:
        scale = 7.0
    same = told([(0, 1.0), (1, 1.0)], scale)
    same = dataclasses.replace(same, uncond=same.cond)
    torch.testing.assert_close(combined(name, settings, [same]), same.cond, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("unit", [1.0, 1 / 12.5])
def test_at_cfg_1_it_leaves_everything_to_the_host(name: str, unit: float):
    """Also to what CFG 1 is with CFG++: outside of a CFG schedule's interval nothing is guided more than anything else."""
    assert technique(name).combine(told([(0, 1.0)], unit), flow_call(cfg_unit=unit)) is None


@pytest.mark.parametrize("name", ["apg", "fdg", "cfg_zero"])
def test_with_cfgpp_what_cfg_1_is_is_lambdas(name: str):
    cfgpp = technique("cfgpp")
    plan = Plan("sdfm", (cfgpp, technique(name)))
    at_1 = told([(0, 1.0)], 1 / 12.5)
    step = flow_call(ratio=0.5)
    assert torch.equal(
        compose(plan.techniques, at_1, step, lambda: cfg(at_1)), compose((cfgpp,), at_1, step, lambda: cfg(at_1))
    )


@pytest.mark.parametrize("make", [new_host, new_forge], ids=["A1111", "Forge"])
@pytest.mark.parametrize("name", ["apg", "fdg", "mahiro"])
def test_outside_of_an_interval_it_is_plain(make: Any, name: str):
    """Everything lies outside; so does nothing, with another interval."""
    host, nowhere = make(), {"cfg_schedule": {"low": 90.0, "high": 99.0}}
    assert torch.equal(samples(host, {name: {}, **nowhere}), samples(host, nowhere))
    assert not torch.equal(samples(host, {name: {}}), samples(host))


@pytest.mark.parametrize("name", ["apg", "fdg", "mahiro"])
def test_both_hosts_give_the_same_picture(name: str):
    for job in ({}, {"sampler_name": "DDIM"}, {"batch_size": 2}):
        ours, theirs = (samples(make(), {name: {}}, steps=4, **job) for make in (new_host, new_forge))
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=2e-2)
