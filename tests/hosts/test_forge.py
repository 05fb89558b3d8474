"""SDFM in Forge: the same settings, weights and noise give what A1111 gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.hosts.jobs import new_forge, new_host, samples

REQUESTS = {
    "off": None,
    "pag": {"pag": {"scale": 2}},
    "pag-layers": {"pag": {"scale": 2, "layers": "input.1.1,output.0", "rescale": 0.5, "adaptive": 0.3}},
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


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_both_hosts_give_the_same(name: str, sampler: str):
    ours = samples(new_forge(), REQUESTS[name], sampler_name=sampler)
    close(ours, samples(new_host(), REQUESTS[name], sampler_name=sampler))
