"""SDFM in Forge: the same settings, weights and noise give what A1111 gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Processing, Sampler
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.jobs import job, new_forge, new_host, samples
from tests.hosts.test_guided_sampling import AND, LONG
from tests.pairs import in_turn

REQUESTS = {
    "off": None,
    "pag": {"pag": {"scale": 2}},
    "pag-layers": {"pag": {"scale": 2, "layers": "input.3.1,output.0", "rescale": 0.5, "adaptive": 0.3}},
    "pag-original": {"recipe": "original", "pag": {"scale": 2}},
    "pag-sanf": {"pag": {"scale": 2, "sanf": True}},
    "sanf-original": {"recipe": "original", "pag": {"scale": 2, "sanf": True}},
    "seg": {"seg": {"scale": 2, "blur": 1}},
    "seg-infinite": {"seg": {"scale": 2}},
    "seg-original": {"recipe": "original", "seg": {"blur": 1}},
    "pag-seg-original": {"recipe": "original", "pag": {"scale": 2}, "seg": {"blur": 11}},
    "schedule": {"cfg_schedule": {"schedule": "Linear", "low": 0.5, "high": 12}},
    "schedule-original": {"recipe": "original", "cfg_schedule": {"schedule": "Cosine"}},
    "freeu": {"freeu": {}},
    "thresholding": {"dynamic_thresholding": {"mimic_scale": 2, "mimic_mode": "Linear Down"}},
    "everything": {
        "pag": {"scale": 1}, "seg": {"blur": 2}, "freeu": {}, "dynamic_thresholding": {"mimic_scale": 3},
        "cfg_schedule": {"schedule": "Cosine"},
    },
}  # fmt: skip


def assert_same(forge: Tensor, a1111: Tensor) -> None:
    """Fail where two hosts' pictures differ by more than rounding: the order of sums differs with the rows of a call."""
    assert float((forge - a1111).norm() / a1111.norm()) < 1e-5
    torch.testing.assert_close(forge, a1111, rtol=2e-4, atol=3e-5 * float(a1111.std()))


def check_same(name: str, **settings: Any) -> None:
    hosts = new_forge(), new_host()
    for host in hosts:
        host.batch_cond_uncond = settings.get("together", True)
    settings.pop("together", None)
    forge, a1111 = (samples(host, REQUESTS[name], **settings) for host in hosts)
    assert_same(forge, a1111)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_both_hosts_give_the_same(name: str, sampler: str):
    check_same(name, sampler_name=sampler)


@pytest.mark.parametrize("sampler", ["Heun", "DPM2", "DPM++ 2S a", "DPM++ SDE", "LMS", "DPM fast", "PLMS", "UniPC"])
def test_both_hosts_give_the_same_with_other_samplers(sampler: str):
    check_same("everything", sampler_name=sampler, steps=4)


@in_turn(
    name=["everything", "sanf-original", "seg-original", "pag-seg-original", "thresholding"] * 3,
    settings={
        "AND": {"conds": AND, "batch_size": 2},
        "unequal lengths": {"unconds": LONG, "batch_size": 2},
        "apart": {"batch_size": 2, "together": False},
        "NGMS": {"s_min_uncond": 100.0, "steps": 4},
        "hires": {"enable_hr": True},
        "one step": {"steps": 1},
    },
)
def test_both_hosts_give_the_same_however_they_call_the_model(name: str, settings: dict):
    if name == "sanf-original" and "conds" in settings:
        pytest.skip("SANF picks per element, from the mean of the prompts in Forge and from each in A1111")
    check_same(name, **settings)


class OtherScale:
    """Gives A1111's hires pass a CFG scale of its own, as Forge's has."""

    def before_process(self, p: Processing, *args: object) -> None:
        p.cfg_scale = 7.0

    process_batch = before_process

    def process_before_every_sampling(self, p: Processing, *args: object) -> None:
        p.cfg_scale = 3.0 if p.is_hr_pass else 7.0


@pytest.mark.parametrize("name", ["pag", "seg-original", "schedule", "thresholding", "everything", "schedule-original"])
def test_the_hires_pass_has_its_own_cfg_scale(name: str):
    forge, a1111 = new_forge(), new_host()
    p = job(a1111, REQUESTS[name], enable_hr=True)
    p.scripts.append(OtherScale())
    wanted = a1111.run(p)
    assert_same(samples(forge, REQUESTS[name], enable_hr=True, hr_cfg=3.0), wanted)
    assert not a1111.swallowed


@pytest.mark.parametrize("request_", [{"pag": {}}, {"seg": {}}, {"freeu": {}}, {"pag": {"rescale": 0.5}}], ids=str)
def test_what_needs_no_negative_prompt_works_at_cfg_1(forge: ForgeHost, request_: dict):
    settings = {"cfg_scale": 1.0, "enable_hr": True, "hr_cfg": 1.0}
    guided, plain = samples(forge, request_, **settings), samples(forge, **settings)
    assert (guided - plain).std() > 0.1


NEEDY = {
    "Dynamic thresholding": {"dynamic_thresholding": {}},
    "SEG": {"recipe": "original", "seg": {}},
    "PAG": {"recipe": "original", "pag": {"sanf": True, "scale": 2}},
    "CFG schedule": {"cfg_schedule": {"schedule": "Cosine"}},
}


@pytest.mark.parametrize("label", NEEDY)
@pytest.mark.parametrize(
    "settings", [{"cfg_scale": 1.0}, {"enable_hr": True, "hr_cfg": 1.0}], ids=["the only pass", "the hires pass"]
)
def test_what_needs_the_negative_prompt_says_so_at_cfg_1(
    forge: ForgeHost, label: str, settings: dict, caplog: pytest.LogCaptureFixture
):
    if label == "SEG" and "hr_cfg" not in settings:  # it changes that prediction alone, so that there is nothing to do
        assert torch.equal(samples(forge, NEEDY[label], **settings), samples(forge, **settings))
        assert "SEG has no effect" in caplog.text
        return
    with pytest.raises(SdfmError, match=f"(?i){label}.*CFG scale 1.*Hires CFG Scale"):
        forge.run(job(forge, NEEDY[label], **settings))


def test_a_first_pass_at_cfg_1_takes_nothing_from_the_hires_pass(forge: ForgeHost):
    window = {"recipe": "original", "seg": {"start_step": 9, "hires_start_step": 0}}
    settings = {"cfg_scale": 1.0, "enable_hr": True, "hr_cfg": 5.0}
    assert not torch.equal(samples(forge, window, **settings), samples(forge, **settings))


def test_a_script_that_hands_on_sigmas_of_its_own_is_followed(forge: ForgeHost, monkeypatch: pytest.MonkeyPatch):
    """A level between two entries of the noise table."""
    monkeypatch.setattr(Sampler, "get_sigmas", lambda self, steps: torch.tensor([20.0, 3.3, 0.001, 0.0]))
    assert samples(forge, {"pag": {"adaptive": 0.2}}).isfinite().all()
