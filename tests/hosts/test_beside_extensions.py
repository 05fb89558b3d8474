"""SDFM on A1111 beside extensions that count, keep and replace: pictures are what they are without counting and keeping."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdfm_webui.errors import SdfmError
from sdfm_webui.job import end_without_pictures
from tests.hosts.fake_a1111 import Host, prompt
from tests.hosts.jobs import attached, job, new_host, samples
from tests.hosts.neighbours import (
    Bank,
    ByCount,
    ByLength,
    ByPairs,
    Counting,
    Extension,
    Perpendicular,
    Scaler,
    Scalers,
    Tiles,
    UntilBatchEnds,
    unequal,
)
from tests.hosts.test_tail import difference, rows_through, unet_of
from tests.pairs import in_turn

PAG = {"pag": {"scale": 2}}
REQUESTS = {
    "PAG": PAG,
    "PAG and SEG": {"pag": {"scale": 2}, "seg": {"blur": 1}},
    "PAG in the encoder": {"pag": {"scale": 2, "layers": "input.1,middle"}},
    "TPG": {"tpg": {"scale": 2, "layers": "middle"}},
    "all": {"pag": {"scale": 2}, "freeu": {}, "nag": {}, "dynamic_thresholding": {"mimic_scale": 3}},
    "original": {"recipe": "original", "pag": {"scale": 2}, "seg": {"blur": 1}},
}
NEUTRAL = {"pag": {"scale": 1e-6}, "seg": {"scale": 1e-6, "blur": 1}, "tpg": {"scale": 1e-6, "layers": "middle"}}


def beside(kind: type[Extension] | None, request_: dict | None, host: Host | None = None, **settings: Any) -> Tensor:
    """Return the result of a job with an extension, whose things are gone afterwards."""
    host = host or new_host()
    before = attached(host.sd_model)
    p = job(host, request_, **settings)
    if kind is not None:
        p.scripts = [kind(host), *p.scripts]
    torch.manual_seed(1)
    result = host.run(p)
    assert not host.swallowed and attached(host.sd_model) == before
    return result


@in_turn(
    name=list(REQUESTS),
    case={"by count-1": (ByCount, 1), "by pairs-3": (ByPairs, 3), "by count-3": (ByCount, 3), "by pairs-1": (ByPairs, 1)},
)
def test_who_counts_gives_the_same_as_who_does_not(name: str, case: tuple[type[Extension], int]):
    kind, images = case
    got = beside(kind, REQUESTS[name], **unequal(images))
    assert difference(got, beside(ByLength, REQUESTS[name], **unequal(images))) < 1e-5
    assert difference(got, beside(None, REQUESTS[name], **unequal(images))) > 1e-3


@pytest.mark.parametrize("kind", [ByCount, ByPairs])
def test_at_cfg_scale_1_the_unconditional_rows_stay(kind: type[Extension]):
    settings = {"cfg_scale": 1, "steps": 2, **unequal()}
    host = new_host()
    got = beside(kind, PAG, host, **settings)
    assert difference(got, beside(ByLength, PAG, **settings)) < 1e-5
    assert host.sd_model.calls == [1, 1] * (1 + 1 + 1 + 2)  # the first main prediction twice


@pytest.mark.parametrize("batch_cond_uncond", [True, False])
@pytest.mark.parametrize("settings", [{"batch_size": 3}, unequal(3)], ids=["equal", "unequal"])
def test_each_perturbed_prediction_has_the_hosts_calls(settings: dict, batch_cond_uncond: bool):
    calls = {}
    for name, request_ in {"plain": None, "PAG": PAG}.items():
        host = new_host()
        host.batch_cond_uncond = batch_cond_uncond
        beside(ByLength, request_, host, steps=1, **settings)
        calls[name] = host.sd_model.calls
    assert calls["PAG"] == calls["plain"] * 3


KINDS = (ByCount, ByPairs, Bank, Scalers, Perpendicular)


@in_turn(kind={one.__name__: one for one in KINDS}, settings={"equal": {}, "unequal": unequal(2)})
def test_techniques_without_effect_leave_the_picture(kind: type[Extension], settings: dict):
    alone = beside(kind, None, **settings)
    assert difference(beside(kind, NEUTRAL, **settings), alone) < 1e-4
    assert difference(beside(kind, PAG, **settings), alone) > 1e-3


def test_random_numbers_of_others_are_those_without_us():
    beside(Bank, None)
    wanted = torch.rand(1)
    beside(Bank, PAG)
    assert torch.equal(torch.rand(1), wanted)


def test_freeu_with_a_block_that_is_no_sequence():
    class Unscaled(Scalers):
        def __init__(self, host: Host) -> None:
            super().__init__(host, scale=1.0)

    assert difference(beside(Unscaled, {"freeu": {}}), beside(None, {"freeu": {}})) < 1e-6
    assert difference(beside(Scalers, {"freeu": {}}), beside(Scalers, None)) > 1e-3
    neutral = {"freeu": {f"stage{stage}_{what}": 1.000001 for stage in (1, 2) for what in ("backbone", "skip")}}
    assert difference(beside(Scalers, neutral), beside(Scalers, None)) < 1e-5


@pytest.mark.parametrize("request_", [{"pag": {"layers": "output.99"}}, {"pag": {"scale": "much"}}], ids=["later", "at once"])
def test_a_failure_of_ours_leaves_nothing_of_others(request_: dict):
    host = new_host()
    plain = samples(host)
    before, blocks = attached(host.sd_model), list(unet_of(host).output_blocks)
    for kind in (Scalers, ByCount, UntilBatchEnds):
        p = job(host, request_)
        p.scripts = [kind(host), *p.scripts]
        with pytest.raises(SdfmError):
            host.run(p)
    assert attached(host.sd_model) == before and list(unet_of(host).output_blocks) == blocks
    host.on_cfg_denoiser = host.on_cfg_denoiser[:1]
    assert torch.equal(samples(host), plain)


def test_scripts_are_told_that_a_failed_batch_and_its_job_have_ended():
    told: list[Any] = []

    class Scripts:
        def postprocess_batch(self, p: Any, images: Tensor, **kwargs: Any) -> None:
            told.append((tuple(images.shape), kwargs))

        def postprocess(self, p: Any, processed: Any) -> None:
            told.append(processed)

    end_without_pictures(SimpleNamespace(scripts=Scripts(), width=64, height=96, iteration=1), "nothing")
    assert told == [((0, 3, 96, 64), {"batch_number": 1}), "nothing"]


def test_who_cannot_be_repeated_is_refused_by_name():
    with pytest.raises(
        SdfmError, match=r"PAG: tests\.hosts\.neighbours changes the UNet so that each call gives a different result"
    ):
        beside(Counting, PAG)
    beside(Counting, {"apg": {}})


HOOKED = {
    "query": lambda block: block.transformer_blocks[0].attn1.to_q,
    "key": lambda block: block.transformer_blocks[0].attn2.to_k,
    "projection": lambda block: block.transformer_blocks[0].attn1.to_out[0],
    "norm": lambda block: block.norm,
}


@pytest.mark.parametrize("place", HOOKED)
@pytest.mark.parametrize("step", [0, 1])
def test_any_module_may_be_hooked_at_any_step(place: str, step: int):
    host = new_host()
    module = HOOKED[place](unet_of(host).middle_block[1])

    def hook(params: Any) -> None:
        if params.denoiser.step == step:
            module.register_forward_hook(lambda *args: None)

    host.on_cfg_denoiser.append(hook)
    with rows_through(unet_of(host).middle_block) as rows:
        samples(host, PAG, steps=2)
    assert rows == [3] * step + [2] * (2 * (2 - step) + 1)


def test_a_wrapped_module_is_somebodys():
    host = new_host()
    block = unet_of(host).middle_block[1].transformer_blocks[0]
    block.attn1.to_v = nn.Sequential(block.attn1.to_v)
    with rows_through(unet_of(host).middle_block) as rows:
        samples(host, PAG, steps=1)
    assert rows == [3]
    block.attn1.to_v = Scaler(block.attn1.to_v, 1.0)
    assert unet_changes(host) == ("tests.hosts.neighbours",)


def test_forwards_of_torchs_classes_are_somebodys_but_not_loras(monkeypatch: pytest.MonkeyPatch):
    own = nn.Linear.forward

    def forward(self: nn.Linear, x: Tensor) -> Tensor:
        return own(self, x)

    host = new_host()
    monkeypatch.setattr(nn.Linear, "forward", forward)
    assert unet_changes(host) == (__name__,)
    forward.__module__ = "networks"
    assert unet_changes(host) == ()


def test_forwards_of_their_own_class_are_nobodys():
    """ControlNet leaves them behind."""
    host = new_host()
    for module in (unet_of(host), *unet_of(host).output_blocks):
        module.forward = type(module).forward.__get__(module)
    block = unet_of(host).middle_block[1].transformer_blocks[0]
    block._forward = type(block)._forward.__get__(block)
    assert unet_changes(host) == ()
    with rows_through(unet_of(host).middle_block) as rows:
        samples(host, PAG, steps=1)
    assert rows == [3]
    block._forward = lambda x, context=None: type(block)._forward(block, x, context)
    assert unet_changes(host) == (__name__,)


def test_the_way_is_logged_and_can_be_asked(caplog: pytest.LogCaptureFixture):
    from lib_sdfm.hosts.run import Ways

    host, ways = new_host(), Ways()
    assert ways.report(unet_of(host)) == {"changed_by": [], "last": None} == ways.report(None)
    host.ways = ways
    beside(ByLength, PAG, host)
    said = "PAG: perturbed predictions take whole UNet passes, because tests.hosts.neighbours changes the UNet"
    assert ways.report(unet_of(host)) == {"changed_by": [], "last": said}
    assert [record.getMessage() for record in caplog.records] == [f"SDFM: {said}"]


def unet_changes(host: Host) -> tuple[str, ...]:
    from lib_sdfm.hosts.unet_layers import Changes

    return Changes(unet_of(host)).names()


PERPENDICULAR = [[(prompt(1), 1.0), (prompt(2), 1.5)], [(prompt(3), 1.0), (prompt(4), 0.5)]]
PLAIN_CFG = {
    "thresholding at its own scale": {"dynamic_thresholding": {"mimic_scale": 7}},
    "APG without projection": {"apg": {"eta": 0.999999, "norm_threshold": 0, "momentum": 0}},
    "FDG with one scale": {"fdg": {"ratio": 1.000001}},
}


@pytest.mark.parametrize("name", PLAIN_CFG)
def test_a_replaced_combination_is_called_for_the_cfg_part(name: str):
    settings = {"conds": PERPENDICULAR, "batch_size": 2}
    alone = beside(Perpendicular, None, **settings)
    assert difference(beside(Perpendicular, PLAIN_CFG[name], **settings), alone) < 1e-4
    assert difference(beside(None, None, **settings), alone) > 1e-3


@pytest.mark.parametrize(
    "request_", [{"dynamic_thresholding": {"mimic_scale": 2}}, {"apg": {}}, {"fdg": {}}, {"mahiro": {}}], ids=str
)
def test_each_technique_that_combines_follows_it(request_: dict):
    settings = {"conds": PERPENDICULAR, "batch_size": 2}
    got = beside(Perpendicular, request_, **settings)
    assert difference(got, beside(None, request_, **settings)) > 1e-3
    assert difference(got, beside(Perpendicular, None, **settings)) > 1e-3
    singles = [beside(Perpendicular, request_, conds=[prompts], seed=1 + i) for i, prompts in enumerate(PERPENDICULAR)]
    assert difference(got, torch.cat(singles)) < 1e-4


@pytest.mark.parametrize("request_", [{"dynamic_thresholding": {"mimic_scale": 2}}, {"apg": {}}, {"mahiro": {}}], ids=str)
def test_beside_it_plain_prompts_give_the_same_picture(request_: dict):
    assert torch.equal(beside(Perpendicular, request_), beside(None, request_))


def test_what_needs_the_sum_of_prompts_is_refused_by_name():
    request_ = {"recipe": "original", "pag": {"scale": 2, "sanf": True}}
    with pytest.raises(SdfmError, match=r"PAG with SANF: tests\.hosts\.neighbours combines the prompts"):
        beside(Perpendicular, request_, conds=PERPENDICULAR, batch_size=2)


TWO = {"batch_size": 2, "conds": [[(prompt(1), 1.0)], [(prompt(2), 1.0)]]}


@pytest.mark.parametrize("name", ["PAG", "PAG and SEG", "PAG in the encoder"])
def test_tiles_in_one_call_are_guided_as_in_a_call_each(name: str):
    got, wanted = (beside(functools.partial(Tiles, together=way), REQUESTS[name], **TWO) for way in (True, False))
    assert difference(got, wanted) < 1e-4
    assert difference(got, beside(Tiles, None, **TWO)) > 1e-3


@pytest.mark.parametrize("name", ["TPG", "NAG", "original"])
def test_tiles_in_one_call_are_refused_where_rows_have_to_be_told_apart(name: str):
    request_ = {**REQUESTS, "NAG": {"nag": {}}}[name]
    apart = beside(functools.partial(Tiles, together=False), request_, **TWO)
    assert difference(apart, beside(Tiles, None, **TWO)) > 1e-3
    with pytest.raises(SdfmError, match="SEG|TPG|NAG") as refused:
        beside(Tiles, request_, **TWO)
    assert "rows where the model was called with" in str(refused.value)
