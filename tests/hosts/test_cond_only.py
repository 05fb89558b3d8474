"""At CFG scale 1 the uncond rows are left out on A1111, where nobody looks at them."""

from __future__ import annotations

import pytest
import torch

from tests.hosts.fake_a1111 import prompt
from tests.hosts.jobs import new_host, samples
from tests.pairs import in_pairs

FREEU = {"freeu": {}}
ONE = {"cfg_scale": 1.0, "batch_size": 2}
UNEVEN = torch.stack([prompt(0, 6)] * 2)


def rows_of(request: dict | None, **settings: object) -> int:
    """How many rows the model predicts."""
    host = new_host()
    samples(host, request, steps=3, **settings)
    return sum(host.sd_model.calls)


@in_pairs(
    request_={"FreeU": FREEU, "PAG": {"pag": {}}, "SEG and PAG": {"seg": {}, "pag": {}}}, sampler=["Euler", "Heun", "DDIM"],
    portions={"together": {}, "uneven": {"unconds": UNEVEN}, "apart": {"together": False}},
)  # fmt: skip
def test_the_picture_is_the_same_for_half_the_rows(request_: dict, sampler: str, portions: dict):
    results, rows = [], []
    for scale in (1.0, 1.0 + 1e-7):
        host = new_host()
        host.batch_cond_uncond = portions.get("together", True)
        settings = {**ONE, "cfg_scale": scale, **{k: v for k, v in portions.items() if k != "together"}}
        results.append(samples(host, request_, sampler_name=sampler, **settings))
        rows.append(sum(host.sd_model.calls))
    assert ((results[0] - results[1]).norm() / results[1].norm()).item() < 1e-5
    assert rows[1] - rows[0] == rows[0] / (1 + len(set(request_) & {"pag", "seg"}))


@pytest.mark.parametrize(
    ("request_", "settings"),
    [
        ({"pag": {"sanf": True}}, {}),
        ({"dynamic_thresholding": {}}, {}),
        ({"recipe": "original", "seg": {}}, {}),
        ({"cfg_schedule": {"schedule": "Linear"}}, {}),
        (FREEU, {"sampler_name": "DDIM CFG++"}),
        (FREEU, {"cfg_scale": 2.0}),
        (FREEU, {"conds": [[(prompt(1), 1.0), (prompt(2), 0.5)]] * 2}),
        (FREEU, {"conds": [[(prompt(1), 0.9)]] * 2}),
        (None, {}),
        ({"pag": {"start_step": 50}}, {}),
    ],
    ids=str,
)
def test_what_needs_them_has_them(request_: dict | None, settings: dict):
    settings = {**ONE, **settings}
    prompts = len(settings.get("conds", [[0]])[0])
    extra = 2 * prompts if "pag" in (request_ or {}) and "start_step" not in request_["pag"] else 0
    assert rows_of(request_, **settings) == 3 * (2 * prompts + 2 + extra)


def test_outside_of_a_cfg_interval_a_step_costs_half():
    """Three steps of which the last is below the interval."""
    assert rows_of({"cfg_schedule": {"low": 1.0}}, cfg_scale=7.0) == 2 + 2 + 1
