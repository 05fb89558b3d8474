"""Memory of techniques lasts for one pass, one model and one size, in either host; after an interrupt it is gone."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.schema.params import number
from lib_sdfm.schema.settings import Schema
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import HOSTS, another_checkpoint, job, samples

SEEN: list[tuple[bool, int, float | None]] = []
"""Of each call: hires pass, step, and the step that was kept before, of the first image."""
KEPT: list[weakref.ref] = []


@dataclass(frozen=True)
class CountSettings:
    """Settings of :class:`Count`."""

    share: float = number(0.5, 0, 1, label="Count share", key="Count Share", help="Of what was kept.")


class Count(Technique):
    """Adds a share of what it added in the step before."""

    name, label, title, summary, Settings = "count", "Count", "Counting", "Counts.", CountSettings
    active_key, rank, positions = "Count Active", 1, (3, 4)

    def active(self, call: ModelCall) -> bool:
        return True

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        before = call.previous(self.name)
        SEEN.append((call.hires, call.index, None if before is None else float(before[1])))
        moved = denoised if before is None else denoised + before[0] * self.settings.share
        kept = moved - prediction.uncond
        KEPT.append(weakref.ref(kept))
        call.keep(self.name, (kept, float(call.index)))
        return moved


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    SEEN.clear()
    KEPT.clear()
    return HOSTS[request.param](Schema((Count,)))


COUNT = {"count": {}}
ONE_PASS = [(False, 0, None), (False, 1, 0.0), (False, 2, 1.0)]


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_it_lasts_from_step_to_step_and_not_to_the_next_picture(host: Host, sampler: str):
    first = samples(host, COUNT, sampler_name=sampler, steps=3)
    assert ONE_PASS == SEEN
    assert torch.equal(samples(host, COUNT, sampler_name=sampler, steps=3), first)


def test_two_calls_of_a_step_remember_the_step_before(host: Host):
    samples(host, COUNT, sampler_name="Heun", steps=3)
    assert SEEN == [(False, 0, None)] * 2 + [(False, 1, 0.0)] * 2 + [(False, 2, 1.0)]


def test_each_pass_begins_with_nothing(host: Host):
    samples(host, COUNT, steps=3, enable_hr=True, denoising_strength=1.0)
    assert [*ONE_PASS, *((True, step, before) for _, step, before in ONE_PASS)] == SEEN


def test_a_batch_remembers_what_its_single_pictures_would(host: Host):
    batch = samples(host, COUNT, batch_size=3)
    singles = torch.cat([samples(host, COUNT, seed=seed) for seed in (1, 2, 3)])
    torch.testing.assert_close(batch, singles, rtol=1e-3, atol=1e-2)


def test_several_batches_with_one_sampler_remember_nothing_of_each_other(host: Host):
    settings = {"init_latent": torch.zeros(1, 4, 8, 8), "denoising_strength": 1.0}
    batches = samples(host, COUNT, n_iter=2, **settings)
    assert SEEN == ONE_PASS * 2
    assert torch.equal(batches[1:], samples(host, COUNT, seed=2, **settings))


def test_a_refiner_begins_with_nothing(host: Host):
    host.refiner = 2, another_checkpoint(host)
    samples(host, COUNT, steps=4)
    assert [before for _, _, before in SEEN] == [None, 0.0, None, 2.0]


def test_after_an_interrupt_it_is_gone(host: Host):
    host.interrupt_at = 2
    p = job(host, COUNT)
    host.run(p)
    gc.collect()
    assert len(SEEN) == 2 and not any(kept() is not None for kept in KEPT)
