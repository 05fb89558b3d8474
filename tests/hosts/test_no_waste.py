"""Costs that a step must not have: waiting for a GPU, hooks where none are needed, memory for features that are kept anyway."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.speed.memory_cost import peak_bytes, skip_bytes
from bench.speed.unet_cost import DECODER, PAG
from bench.speed.unets import Shape
from lib_sdfm.hosts.run import Together
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import HOSTS, samples
from tests.pairs import in_pairs

SMALL = Shape({1: 0, 2: 1, 4: 2}, context=64, side=32, channels=64, head_channels=32, extra=64)
EVERYTHING = {
    "pag": {},
    "seg": {"blur": 1},
    "freeu": {},
    "nag": {},
    "dynamic_thresholding": {},
    "cfg_schedule": {"schedule": "Linear"},
}


class Waits(TorchDispatchMode):
    """Counts where a number is taken out of a tensor: on a GPU everything before it has to be done by then."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


def waits(host: Host, request: dict | None, sampler: str, steps: int = 4) -> int:
    with Waits() as counter:
        samples(host, request, sampler_name=sampler, steps=steps)
    return counter.count


@cache
def plain_waits(make: Any, sampler: str, steps: int = 4) -> int:
    return waits(make(), None, sampler, steps)


ORIGINAL = {"recipe": "original", "pag": {"sanf": True}, "seg": {}}


@in_pairs(make=HOSTS, sampler=["Euler", "DPM++ 2M", "DDIM"], request_={"sdfm": EVERYTHING, "original": ORIGINAL})
def test_no_call_waits_for_a_number(make: Any, sampler: str, request_: dict):
    assert waits(make(), request_, sampler) == plain_waits(make, sampler)


NEED_THE_LEVEL = {
    "cfgpp": {"cfgpp": {}},
    "cfg_rescale": {"cfg_rescale": {}},
    "epsilon_scaling": {"epsilon_scaling": {}},
    "all": {"pag": {"adaptive": 0.1}, "cfgpp": {}, "cfg_rescale": {}, "cfg_schedule": {"schedule": "Interval"}, "tpg": {}},
}


@in_pairs(make=HOSTS, sampler=["Euler", "DDIM"], name=list(NEED_THE_LEVEL))
def test_the_noise_level_is_waited_for_once_in_a_step(make: Any, sampler: str, name: str):
    ours = [waits(make(), NEED_THE_LEVEL[name], sampler, steps) for steps in (4, 5)]
    plain = [plain_waits(make, sampler, steps) for steps in (4, 5)]
    assert ours[1] - ours[0] == plain[1] - plain[0] + 1


@cache
def plain_peak() -> int:
    return peak_bytes(SMALL, {})


@pytest.mark.parametrize("changes", [{"pag": PAG}, {"pag": DECODER}], ids=["middle", "decoder"])
@pytest.mark.parametrize("together, most", [(Together(0), 1), (Together(), Together.MEMORY)], ids=["apart", "together"])
def test_a_perturbed_prediction_needs_no_more_memory_than_is_reckoned(changes: dict, together: Together, most: int):
    extra = peak_bytes(SMALL, changes, together) - plain_peak()
    assert extra <= most * skip_bytes(SMALL)
