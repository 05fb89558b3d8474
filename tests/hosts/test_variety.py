"""Every kind of host gives pictures with every technique, at every batch size; with an unusual one they are the usual ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.hosts.named_samplers import DDIM_CFGPP, NAMED_SAMPLERS
from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Host
from tests.hosts.flow_hosts import with_kinds
from tests.hosts.jobs import HOSTS, new_forge, new_host, new_reforge, samples
from tests.hosts.test_named_samplers import made, with_named_samplers
from tests.hosts.variety import VARIETIES, Variety
from tests.pairs import in_pairs, in_turn
from tests.together import in_original, is_flow_only, together

OPTIONAL = [t for t in SCHEMA.techniques if not t.on_by_default and t.is_guidance]
FLOW_ONLY = [t.name for t in OPTIONAL if is_flow_only(t)]
GUIDING = [t.name for t in OPTIONAL if not is_flow_only(t)]
KINDS = [
    {"flow": {}, "pag": {"adaptive": 0.1}},
    {"model": {"kind": "v-prediction", "zero_terminal_snr": True}, "pag": {"adaptive": 0.1}},
    *({"flow": {}, name: {}} for name in FLOW_ONLY),
]
OLD = [name for name in GUIDING if name in in_original()]
SCHEDULED = {"cfg_schedule": {"schedule": "Interval", "low": 0.5}}
REQUESTS = {
    **{name: {name: True} for name in GUIDING},
    **{f"{name} original": {"recipe": "original", name: True} for name in OLD},
    "interval": SCHEDULED,
    "clamp": {"cfg_schedule": {"schedule": "Clamp-Cosine (c=4.0)"}},
    "all": {**together(*GUIDING), **SCHEDULED},
    "all original": together(*OLD, recipe="original"),
}
ALTOGETHER = ("all", "all original", "pag")
STEPS = 2
"""The second has what a technique keeps of the first."""


def close(got: Tensor, wanted: Tensor, tolerance: float) -> bool:
    return bool(got.isfinite().all()) and float((got - wanted).norm() / wanted.norm()) < tolerance


@cache
def usual_samples(make: Callable[..., Host], sdxl: bool, request_name: str, batch_size: int) -> Tensor:
    """Return what the usual kind of host gives: the CPU in float32."""
    return samples(make(variety=Variety(sdxl=sdxl)), REQUESTS[request_name], steps=STEPS, batch_size=batch_size)


@pytest.fixture(params=HOSTS)
def make(request: pytest.FixtureRequest) -> Callable[..., Host]:
    return HOSTS[request.param]


def test_every_technique_is_tried():
    assert set(GUIDING) <= {name for request in REQUESTS.values() for name in request}
    assert "Clamp-Cosine (c=4.0)" in SCHEMA.by_id["cfg_schedule.schedule"].param.choices


@in_pairs(make=HOSTS, request_name=list(REQUESTS), cfg=[1.0, 7.0])
def test_a_batch_of_sdxl_is_its_single_pictures(make: Callable[..., Host], request_name: str, cfg: float):
    """Its first or last, in turn."""
    host, request = make(variety=VARIETIES["SDXL"]), REQUESTS[request_name]
    settings = {"cfg_scale": cfg, "steps": STEPS}
    try:
        batch = samples(host, request, batch_size=3, **settings)
    except SdfmError as refusal:  # at CFG scale 1 Forge makes no unconditional prediction
        assert cfg == 1.0 and make is new_forge and "negative prompt" in str(refusal)
        return
    if request_name == "all original" or request_name.startswith("dynamic_thresholding original"):
        assert batch.isfinite().all()  # one reference over the whole batch, as the old extension had it
        return
    seed = (1, 3)[list(REQUESTS).index(request_name) % 2]
    assert close(batch[[seed - 1]], samples(host, request, seed=seed, **settings), 1e-4)


UNUSUAL = [name for name, kind in VARIETIES.items() if kind != Variety(sdxl=kind.sdxl)]


def kind_of_host(make: Callable[..., Host], name: str) -> Variety:
    """The variety of this name, if the host has it."""
    kind = VARIETIES[name]
    if kind.lowvram and make is new_reforge:
        pytest.skip("reForge brings each weight where it is used: its blocks are never called, and nothing hooks them")
    return kind


@in_pairs(make=HOSTS, variety=UNUSUAL, request_name=ALTOGETHER, batch_size=[1, 3])
def test_every_kind_of_host(make: Callable[..., Host], variety: str, request_name: str, batch_size: int):
    kind = kind_of_host(make, variety)
    job = {"steps": STEPS, "batch_size": batch_size}
    host, plain = make(variety=kind), {"steps": 1, "batch_size": 2}
    before = samples(host, **plain)
    got = samples(host, REQUESTS[request_name], **job)
    assert torch.equal(samples(host, **plain), before), "off is off"
    usual = usual_samples(make, kind.sdxl, request_name, batch_size)
    if kind.stored:  # other weights
        assert got.isfinite().all()
    elif kind.lowvram:
        assert torch.equal(got, usual)
    else:
        assert close(got, usual, 1e-4 if kind.dtype == torch.float32 else 0.3)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("request_name", ["pag", "seg", "freeu", "nag", "epsilon_scaling", "pag original", "freeu original"])
def test_at_cfg_scale_1_only_cond_rows_run(request_name: str, batch_size: int):
    host = new_host(variety=VARIETIES["SDXL"])
    samples(host, REQUESTS[request_name], cfg_scale=1.0, steps=STEPS, batch_size=batch_size)
    assert set(host.sd_model.calls) == {batch_size}


@pytest.mark.parametrize("variety", [name for name in VARIETIES if name not in UNUSUAL])
def test_off_is_off(make: Callable[..., Host], variety: str):
    """In the usual kinds of host; the others are in ``test_every_kind_of_host``."""
    host = make(variety=VARIETIES[variety])
    before = samples(host, steps=1, batch_size=2)
    samples(host, REQUESTS["all"], steps=2)
    assert torch.equal(samples(host, steps=1, batch_size=2), before)


@in_turn(make=HOSTS, name=[named.name for named in NAMED_SAMPLERS])
def test_named_samplers_need_no_float64(make: Callable[..., Host], name: str):
    usual, device = (with_named_samplers(make(variety=VARIETIES[kind])) for kind in ("SDXL", "SDXL accelerator"))
    job = {"cfg_scale": 0.6, "steps": 3, "batch_size": 2}
    assert close(made(device, name, **job), made(usual, name, **job), 1e-4)


def test_forges_other_ddim_cfgpp_needs_no_float64():
    usual, device = (with_named_samplers(new_forge(variety=VARIETIES[kind])) for kind in ("SDXL", "SDXL accelerator"))
    assert close(made(device, DDIM_CFGPP, steps=STEPS), made(usual, DDIM_CFGPP, steps=STEPS), 1e-4)


@in_pairs(
    make=HOSTS,
    variety=[name for name in VARIETIES if name.startswith("SDXL")],
    asked={" ".join(asked): asked for asked in KINDS},
)
def test_a_model_of_another_kind_in_every_kind_of_host(make: Callable[..., Host], variety: str, asked: dict, tmp_path: Path):
    """Any model will do here: what is looked at is that it is given and gives what it should."""

    def sampled(kind: Variety) -> Tensor:
        host = make(variety=kind)
        with_kinds(host, tmp_path)
        return samples(host, asked, steps=STEPS, batch_size=2)

    kind = kind_of_host(make, variety)
    got, usual = sampled(kind), sampled(Variety(sdxl=kind.sdxl))
    if kind.stored:
        assert got.isfinite().all()
    else:
        assert close(got, usual, 1e-4 if kind.dtype == torch.float32 else 0.3)
