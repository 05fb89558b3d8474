"""TPG: its orders of tokens, its arithmetic against pamparamm's, and jobs on both hosts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError, UnsupportedError
from lib_sdfm.ops.tokens import permute_tokens, token_order
from lib_sdfm.techniques.tpg import seed_of
from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Host, prompt
from tests.hosts.jobs import attached, new_forge, new_host, samples
from tests.pairs import in_turn
from tests.support import DEPTH
from tests.techniques.recorded_guidance import Case, assert_recorded, call, prediction, recorded, technique

HOSTS = {"a1111": new_host, "forge": new_forge}
LAYERS = "deep"
TPG = {"tpg": {"layers": LAYERS}}
STEPS = 3


@pytest.fixture(params=HOSTS)
def make(request: pytest.FixtureRequest) -> Callable[..., Host]:
    return HOSTS[request.param]


def close(got: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> bool:
    return ((got - wanted).norm() / wanted.norm()).item() < tolerance


def toy_block(x: Tensor) -> Tensor:
    """The block of the recorded case, as its note gives it."""
    return x + x.sin() + 0.1 * x.roll(-1, 1) + 0.05 * torch.arange(x.shape[1], dtype=x.dtype)[:, None]


def test_tokens_are_permuted_before_each_block():
    (case,) = recorded("tpg-blocks")
    x, count = case.inputs["x"], case.inputs["x"].shape[1]
    for number, (a, b) in enumerate(case.params["permutations"]):
        order = torch.tensor([(a * n + b) % count for n in range(count)]).expand(len(x), count)
        x = permute_tokens(x, order)
        assert_recorded(x, case.outputs[f"shuffled{number}"])
        x = toy_block(x)
        assert_recorded(x, case.outputs[f"block{number}"])


@pytest.mark.parametrize("case", recorded("tpg-combine"), ids=lambda case: case.id)
def test_the_result_is_pamparamms(case: Case):
    given = prediction(case.inputs["cond"], case.inputs["uncond"], case.params["scale"])
    given = dataclasses.replace(given, perturbed={"tpg": case.inputs["perturbed"]})
    guided = given.uncond + given.cfg_terms("CFG")
    ours = technique("tpg", scale=case.params["tpg_scale"], rescale=case.params["rescale"])
    assert_recorded(ours.correct(guided, given, call()), case.outputs["result"])


def test_an_order_is_a_permutation_that_depends_on_all_that_names_it():
    orders = [
        token_order(50, *said) for said in ((1, 0, "a"), (2, 0, "a"), (1, 1, "a"), (1, 0, "b"), (-1, 0, "a"), (2**40, 0, "a"))
    ]
    assert all(torch.equal(order.sort().values, torch.arange(50)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == len(orders)
    assert torch.equal(orders[0], token_order(50, 1, 0, "a"))


def test_an_order_is_the_same_everywhere():
    assert token_order(8, 1, 2, "input.7.2").tolist() == [7, 6, 4, 0, 1, 5, 2, 3]


def test_the_generator_of_the_sampler_is_left_alone():
    before = torch.get_rng_state()
    token_order(50, 1, 0, "a")
    assert torch.equal(torch.get_rng_state(), before)


@in_turn(sampler=["Euler", "Euler a", "Heun", "DDIM"], make=HOSTS)
def test_a_batch_is_its_single_pictures(make: Callable[..., Host], sampler: str):
    host, settings = make(), {"sampler_name": sampler, "steps": STEPS}
    batch = samples(host, TPG, batch_size=3, **settings)
    singles = torch.cat([samples(host, TPG, seed=seed, **settings) for seed in (1, 2, 3)])
    assert close(batch, singles)
    assert not close(batch, samples(host, None, batch_size=3, **settings), 0.01)
    assert torch.equal(samples(host, TPG, batch_size=3, **settings), batch)


@pytest.mark.parametrize("portions", [True, False])
def test_prompts_joined_by_and_have_the_order_of_their_image(make: Callable[..., Host], portions: bool):
    host = make()
    host.batch_cond_uncond = portions
    one = [[(prompt(5), 1.0)], [(prompt(6), 1.0)]]
    twice = [[(prompt(5), 0.5), (prompt(5), 0.5)], [(prompt(6), 0.5), (prompt(6), 0.5)]]
    settings = {"batch_size": 2, "steps": STEPS}
    assert close(samples(host, TPG, conds=twice, **settings), samples(host, TPG, conds=one, **settings))


def test_all_chosen_blocks_get_shuffled_tokens_in_a_row_of_their_own(make: Callable[..., Host]):
    host, seen = make(), []
    with patch("lib_sdfm.techniques.tpg.permute_tokens", lambda x, orders: seen.append((len(x), orders)) or x):
        neutral = samples(host, TPG, steps=1)
    assert [rows for rows, _ in seen] == [1] * len(seen) and len(seen) == 1 + DEPTH
    assert len({tuple(orders[0].tolist()) for _, orders in seen}) == len(seen)
    assert close(neutral, samples(host, None, steps=1))


def test_it_works_at_cfg_1_and_leaves_nothing_behind(make: Callable[..., Host]):
    host = make()
    plain, before = samples(host, None, cfg_scale=1.0), attached(host.sd_model)
    assert not close(samples(host, TPG, cfg_scale=1.0), plain, 0.01)
    with pytest.raises(SdfmError, match="no attention in input block 99"):
        samples(host, {"tpg": {"layers": "input.99"}})
    with patch("lib_sdfm.techniques.tpg.permute_tokens", side_effect=ZeroDivisionError), pytest.raises(ZeroDivisionError):
        samples(host, TPG)
    assert attached(host.sd_model) == before and torch.equal(samples(host, None, cfg_scale=1.0), plain)


def test_pag_and_seg_stay_in_the_tail_beside_it(make: Callable[..., Host]):
    both, pag = samples(make(), {**TPG, "pag": {}}, steps=1), samples(make(), {"pag": {}}, steps=1)
    plain, tpg = samples(make(), None, steps=1), samples(make(), TPG, steps=1)
    assert close(both - plain, (pag - plain) + (tpg - plain), 1e-4)


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingError, match="deep"):
        SCHEMA.settings({**SCHEMA.defaults(), "tpg.enabled": True, "tpg.layers": "somewhere"})
    with pytest.raises(UnsupportedError, match="seeds"):
        seed_of(call(seeds=(1,)), 1)
    assert seed_of(call(seeds=(1, 7)), 1) == 7


@pytest.mark.parametrize("scale, why", [(0, "its scale is 0"), (1, None)])
def test_scale_0_is_inert(scale: float, why: str | None):
    assert technique("tpg", scale=scale).inert(False) == why
