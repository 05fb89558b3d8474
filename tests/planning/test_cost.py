"""The time of a job beforehand: the shipped table against a count, and the rows against those of runs on the stand-ins."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
from torch import nn

from bench.speed.cost_table import CLASSES, SIDES, blocks_of, counted
from bench.speed.unet_cost import nag_flops
from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import UnsupportedError
from lib_sdfm.planning.cost import FACTOR, Cost, CostFacts, SizedPass, cost_of, operations, usual_pass
from lib_sdfm.planning.course import PassFacts, usual_table
from lib_sdfm.planning.effect import JobFacts, features_without_effect, without_features
from lib_sdfm.planning.plan import plan_of
from lib_sdfm.planning.unet_cost import UnetCost, unet_cost
from lib_sdfm.sampling.layers import transformer_layers
from lib_sdfm.sampling.plan import Plan
from lib_sdfm.schema.request import apply_request
from tests.hosts.fake_a1111 import Host
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.jobs import new_forge, new_host, samples
from tests.hosts.test_expectation import Line
from tests.hosts.test_tail import rows_through, unet_of

OTHER_SIDE = 80
"""Side of a latent that isn't in the table: 640 pixels."""
STEPS = 4


def plan(**request: Any) -> Plan:
    return plan_of(SCHEMA, SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), request)))


def cost(sdxl: bool = True, side: int = 0, **changed: Any):
    """Returns a function from a request to the cost of a pass with these facts."""
    usual = usual_pass(sdxl)
    pixels = (side // FACTOR) ** 2 or usual.pixels
    one = SizedPass(dataclasses.replace(usual.facts, **changed), pixels)
    return lambda **request: cost_of(plan(**request), CostFacts(sdxl, (one,)))


@pytest.mark.parametrize("name", CLASSES)
def test_the_table_is_what_is_counted(name: str):
    """At a size that isn't in the table, so that what follows for other sizes is counted as well."""
    table, shape = unet_cost(name == "SDXL"), dataclasses.replace(CLASSES[name], side=OTHER_SIDE)
    assert table.blocks == blocks_of(shape) and list(table.pixels) == [side * side for side in SIDES]
    found = counted(shape)
    if name == "SD1.5":
        found["nag"] = nag_flops(shape) - found["input"]
    for place, number in found.items():
        assert table.of(place, OTHER_SIDE**2) == pytest.approx(number, rel=1e-9), place


def test_the_usual_noise_table_is_the_models(host: Host):
    known = host.sd_model.alphas_cumprod if hasattr(host.sd_model, "alphas_cumprod") else None
    if known is not None:
        assert usual_table() == pytest.approx((((1 - known) / known) ** 0.5).numpy(), rel=1e-4)


class TestWords:
    """A few costs as a user reads them."""

    @pytest.mark.parametrize("request_, words", [
        ({"pag": {}}, "about +34% time"), ({"pag": {}, "freeu": {}}, "about +34% time"), ({"freeu": {}}, "no extra cost"),
        ({"pag": {}, "seg": {}}, "about +68% time"), ({"tpg": {}}, "about +50% time"), ({"nag": {}}, "no extra cost"),
        ({"pag": {"layers": "input.4"}}, "about +50% time"), ({"pag": {"layers": "output.3"}}, "about +10% time"),
        ({"pag": {"layers": "output.3"}, "freeu": {}}, "about +34% time"),
        ({"pag": {"layers": "output.3"}, "seg": {}}, "about +68% time"),
        ({"pag": {"start_step": 5, "end_step": 9}}, "about +9% time"), ({"cfgpp": {}}, "no extra cost"),
        ({"adaptive_guidance": {}}, "up to \u221248% time"), ({"adaptive_guidance": {}, "pag": {}}, "up to +34% time"),
        ({"adaptive_guidance": {"step": 10}}, "about \u221225% time"), ({"recipe": "original", "seg": {}}, "no extra cost"),
        ({"pag": {"scale": 0}}, "no extra cost"),
    ])  # fmt: skip
    def test_sdxl(self, request_: dict, words: str):
        assert cost()(**request_).words == words

    def test_the_range_is_told_by_its_end_that_costs(self):
        assert Cost(0.9, 1.2).words == "up to +20% time" and Cost(0.7, 1.0).words == "up to \u221230% time"
        assert Cost(1.0, 1.004).words == "no extra cost"


def test_at_cfg_1_the_hosts_differ():
    """A1111 predicts the negative prompt at CFG 1 unless a technique of ours is on; Forge never does."""
    ours, forge = cost(cfg_scale=1.0), cost(cfg_scale=1.0, host_skips_uncond=True)
    assert ours(pag={}).most == pytest.approx(0.842, abs=1e-3) and forge(pag={}).most == pytest.approx(1.684, abs=1e-3)
    assert ours(nag={}).most == pytest.approx(0.502, abs=1e-3) and forge(nag={}).words == "no extra cost"


def test_attention_s_share_grows_with_the_size():
    assert cost(side=512)(pag={}).most != cost(side=1536)(pag={}).most
    assert cost(sdxl=False, side=512)(pag={}).most == pytest.approx(1.345, abs=1e-3)


def test_a_hires_pass_counts_by_its_size_and_steps():
    first, second = usual_pass(True), usual_pass(True)
    hires = dataclasses.replace(second.facts, hires=True, calls=second.facts.calls[:10])
    passes = (first, SizedPass(hires, 4 * second.pixels))
    only_hires = plan(pag={"start_step": 100, "hires_start_step": 0})
    unet = unet_cost(True)
    share = (
        10
        * unet.of("input", 4 * first.pixels)
        / (20 * unet.of("input", first.pixels) + 10 * unet.of("input", 4 * first.pixels))
    )
    own = unet.of("middle", 4 * first.pixels) / unet.of("input", 4 * first.pixels) / 2
    assert cost_of(only_hires, CostFacts(True, passes)).most == pytest.approx(1 + share * own)


def test_layers_that_the_model_lacks_are_named():
    with pytest.raises(UnsupportedError, match="no attention in input block 3"):
        cost()(pag={"layers": "input.3"})


RUNS = [
    {"pag": {}, "seg": {}}, {"tpg": {"layers": "middle"}}, {"pag": {"layers": "input.1"}}, {"dynamic_thresholding": {}},
    {"pag": {"layers": "output.1"}, "freeu": {"preset": "SD1.4"}}, {"pag": {"start_step": 1, "end_step": 2}}, {"apg": {}},
    {"cfg_schedule": {"schedule": "Interval"}}, {"adaptive_guidance": {"step": 2}}, {"pag": {"sanf": True}},
    {"recipe": "original", "pag": {}, "seg": {}}, {},
]  # fmt: skip
NEEDS_UNCOND = ({"dynamic_thresholding": {}}, {"pag": {"sanf": True}}, {"recipe": "original", "pag": {}, "seg": {}})


@pytest.mark.parametrize("make", [new_host, new_forge], ids=["A1111", "Forge"])
@pytest.mark.parametrize(
    "sampler, scale, runs", [("Euler", 7.0, RUNS), ("Euler", 1.0, RUNS), ("Heun", 7.0, RUNS[5:8]), ("DDIM", 7.0, RUNS[5:9])]
)
def test_the_rows_are_those_of_a_run(make: Any, sampler: str, scale: float, runs: list[dict]):
    """Rows through the first block are whole ones, rows through the last one are all."""
    for request in runs:
        host = make()
        if scale == 1.0 and isinstance(host, ForgeHost) and request in NEEDS_UNCOND:
            continue  # refused there
        unet = unet_of(host)
        with rows_through(unet.input_blocks[0]) as first, rows_through(unet.output_blocks[-1]) as last:
            samples(host, request or None, sampler_name=sampler, steps=STEPS, cfg_scale=scale)
        calls = Line(host)(sampler=sampler, steps=STEPS).calls
        facts = PassFacts(calls, STEPS, scale, sampler, first_steps=STEPS, host_skips_uncond=isinstance(host, ForgeHost))
        for shared, rows in ((False, first), (True, last)):
            most, _ = operations(in_job(request, sampler, scale), (SizedPass(facts, 1),), rows_cost(unet, shared))
            assert most == sum(rows), request


def in_job(request: dict, sampler: str, scale: float) -> Plan:
    """The plan that a job runs, without what has no effect in it."""
    settings = SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), request))
    idle = features_without_effect(SCHEMA, settings, JobFacts(STEPS, None, False, (scale,), ["p"], sampler))
    return plan_of(SCHEMA, without_features(settings, [feature for feature, _ in idle]))


def rows_cost(unet: nn.Module, shared: bool) -> UnetCost:
    """A table in which a whole row counts 1, and one that branches off counts 1 or nothing."""
    names = [f"output.{number}" for number in range(len(unet.output_blocks))]
    blocks = Counter(layer.name.rpartition(".")[0] for layer in transformer_layers(unet))
    return UnetCost([1], blocks, {"input": [1], **dict.fromkeys(["middle", *names], [int(shared)]), "nag": [0]})
