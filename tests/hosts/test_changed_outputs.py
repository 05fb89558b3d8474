"""SDFM on A1111 beside extensions that change the model's outputs before CFG: perturbed predictions are changed alike."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Host, Processing, prompt
from tests.hosts.jobs import new_host
from tests.hosts.neighbours import HALVES, Extension, Noisy, Regions
from tests.hosts.test_beside_extensions import NEUTRAL, beside
from tests.hosts.test_tail import difference

REQUESTS = {
    "PAG": {"pag": {"scale": 2}},
    "three": {"pag": {"scale": 2}, "seg": {"blur": 1}, "tpg": {"scale": 2, "layers": "middle"}},
    "PAG in the encoder": {"pag": {"scale": 2, "layers": "input.1,middle"}},
    "original": {"recipe": "original", "pag": {"scale": 2}, "seg": {"blur": 1}},
}
FREEU = {"freeu": {f"stage{stage}_{what}": 1.000001 for stage in (1, 2) for what in ("backbone", "skip")}}
WHOLE = torch.tensor([1.0, 0.0]).view(2, 1, 1)
"""Masks that give the whole picture to the first prompt."""


def regions(images: int = 1) -> dict[str, Any]:
    """Settings of a job with two prompts per image."""
    return {"batch_size": images, "conds": [[(prompt(1 + image), 1.0), (prompt(11 + image), 1.0)] for image in range(images)]}


@pytest.mark.parametrize("settings", [{}, {"s_min_uncond": 5.0, "steps": 4}, {"sampler_name": "DDIM"}], ids=str)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_prompt_with_the_whole_picture_is_as_alone(name: str, settings: dict):
    got = beside(functools.partial(Regions, masks=WHOLE), REQUESTS[name], **regions(2), **settings)
    alone = beside(None, REQUESTS[name], **{**regions(2), "conds": [[(prompt(1), 1.0)], [(prompt(2), 1.0)]]}, **settings)
    assert difference(got, alone) < 1e-4


@pytest.mark.parametrize("name", REQUESTS)
def test_a_batch_is_its_single_pictures(name: str):
    got = beside(Regions, REQUESTS[name], **regions(2))
    singles = [beside(Regions, REQUESTS[name], conds=[prompts], seed=1 + i) for i, prompts in enumerate(regions(2)["conds"])]
    assert difference(got, torch.cat(singles)) < 1e-4


@pytest.mark.parametrize("images", [1, 3])
def test_techniques_without_effect_leave_the_picture(images: int):
    alone = beside(Regions, None, **regions(images))
    assert difference(beside(Regions, NEUTRAL, **regions(images)), alone) < 1e-4
    assert difference(beside(Regions, REQUESTS["PAG"], **regions(images)), alone) > 1e-3
    assert difference(beside(None, None, **regions(images)), alone) > 1e-3


def test_the_regions_count_at_cfg_scale_1():
    """The negative prompt fills what is in no region: it is predicted."""

    class Left(Regions):
        def __init__(self, host: Host) -> None:
            super().__init__(host, HALVES[:1])

    settings = {"cfg_scale": 1, "conds": [[(prompt(1), 1.0)]]}
    alone = beside(Left, None, **settings)
    assert difference(beside(Left, NEUTRAL, **settings), alone) < 1e-4
    assert difference(beside(Left, FREEU, **settings), alone) < 1e-4
    assert difference(beside(None, None, **settings), alone) > 1e-3


def test_what_cannot_be_repeated_is_refused_by_name():
    with pytest.raises(SdfmError, match=r"PAG: tests\.hosts\.neighbours changes the model's predictions in a way"):
        beside(Noisy, REQUESTS["PAG"])
    beside(Noisy, {"apg": {}})


class Around(Extension):
    """Changes the predictions around what combines them, ours included."""

    def process_before_every_sampling(self, p: Processing, *args: Any) -> None:
        denoiser = p.sampler.model_wrap_cfg
        own = denoiser.combine_denoised
        denoiser.combine_denoised = lambda x_out, *others: own(x_out * self.factor, *others)

    def attach(self) -> None:
        """Wait for the sampler."""

    def detach(self) -> None:
        """Leave the sampler, which is made anew."""


class Halving(Around):
    factor = 0.5


class Looking(Around):
    factor = 1.0


def last(kind: type[Extension], request_: dict) -> Tensor:
    """Return the result of a job with an extension that comes after us."""
    from tests.hosts.jobs import job

    host = new_host()
    p = job(host, request_)
    p.scripts = [*p.scripts, kind(host)]
    return host.run(p)


def test_around_the_combination_it_is_refused_unless_it_only_looks():
    with pytest.raises(SdfmError, match=r"PAG: tests\.hosts\.test_changed_outputs changes the model's predictions"):
        last(Halving, REQUESTS["PAG"])
    assert torch.equal(last(Looking, REQUESTS["PAG"]), beside(None, REQUESTS["PAG"]))


class Replacing(Around):
    """Combines the predictions itself."""

    def process_before_every_sampling(self, p: Processing, *args: Any) -> None:
        denoiser = p.sampler.model_wrap_cfg
        own = type(denoiser).combine_denoised.__get__(denoiser)
        denoiser.combine_denoised = lambda *args: own(*args)


def test_who_combines_without_us_is_named():
    with pytest.raises(SdfmError, match=r"combined without SDFM, at step 2: tests\.hosts\.test_changed_outputs replaces CFG"):
        last(Replacing, {"apg": {}})
