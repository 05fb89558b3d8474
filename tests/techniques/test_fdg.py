"""FDG, against kornia's pyramid and others' implementations, and by its properties at any size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib_sdfm.ops.frequencies import enlarge, low_frequencies, shrink
from lib_sdfm.ops.projection import project
from tests.hosts.jobs import HOSTS, samples
from tests.support import noise_of
from tests.techniques.recorded_guidance import Case, assert_recorded, call, prediction, recorded, technique

sides = st.integers(3, 40)
SDXL_PORTRAIT = (152, 104)


@pytest.mark.parametrize("case", recorded("fdg-lowpass"), ids=lambda case: case.id)
def test_low_frequencies_are_kornias(case: Case):
    assert_recorded(shrink(case.inputs["x"]), case.outputs["down"])
    low = low_frequencies(case.inputs["x"])
    assert_recorded(low, case.outputs["low"])
    assert_recorded(case.inputs["x"] - low, case.outputs["high"])


@given(sides, sides)
def test_a_constant_has_only_low_frequencies_at_any_size(height: int, width: int):
    constant = torch.full((1, 2, height, width), 3.0, dtype=torch.float64)
    torch.testing.assert_close(low_frequencies(constant), constant)


@given(sides, sides)
def test_a_checkerboard_has_hardly_any(height: int, width: int):
    board = ((torch.arange(height)[:, None] + torch.arange(width)) % 2 * 2.0 - 1)[None, None]
    low = low_frequencies(board)
    assert low.shape == board.shape and low.abs().mean() < 0.3


@pytest.mark.parametrize("size", [SDXL_PORTRAIT, (77, 53), (3, 3)], ids=str)
def test_any_size_is_mirrored_and_turned_with_its_map(size: tuple[int, int]):
    """Except for the pixel by which an odd side is continued at its end."""
    x = noise_of(1, 2, 4, *size).double()
    assert low_frequencies(x).shape == x.shape
    torch.testing.assert_close(low_frequencies(x.mT).mT, low_frequencies(x))
    if not any(side % 2 for side in size):
        torch.testing.assert_close(low_frequencies(x.flip(-1)).flip(-1), low_frequencies(x))


@pytest.mark.parametrize("case", [c for c in recorded("fdg-d") if "parallel_weights" not in c.params], ids=lambda c: c.id)
def test_it_is_diffusers(case: Case):
    high, low = case.params["scales"]
    got = technique("fdg", ratio=high / low).combine(prediction(case.inputs["cond"], case.inputs["uncond"], low), call())
    assert_recorded(got, case.outputs["result"])


@pytest.mark.parametrize("case", recorded("fdg-pamparamm"), ids=lambda case: case.id)
def test_it_is_pamparamms_where_that_pads_nothing(case: Case):
    scale, high = case.params["scale"], case.params["scale_high"]
    got = technique("fdg", ratio=high / scale).combine(prediction(case.inputs["cond"], case.inputs["uncond"], scale), call())
    assert_recorded(got, case.outputs["result"])


@pytest.mark.parametrize("case", recorded("fdg-diffusers-parallel"), ids=lambda case: case.id)
def test_the_projection_in_bands_is_diffusers(case: Case):
    """Of what is parallel theirs adds a share of a band's scale to the unconditional prediction; ours, as the paper, 1."""
    cond, uncond = case.inputs["cond"], case.inputs["uncond"]
    (high, low), (kept_high, kept_low) = case.params["scales"], case.params["parallel_weights"]
    got = technique("fdg", ratio=high / low, project=True).combine(prediction(cond, uncond, low), call())
    halves, highs = (shrink(cond - uncond), shrink(cond)), (high_band(cond - uncond), high_band(cond))
    got = got + enlarge(parallel(*halves), 8, 8) * (kept_low * low - 1) + parallel(*highs) * (kept_high * high - 1)
    assert_recorded(got, case.outputs["result"])


def high_band(x: Tensor) -> Tensor:
    return x - low_frequencies(x)


def parallel(x: Tensor, direction: Tensor) -> Tensor:
    return x - project(x, direction, 0.0)


EACH_HOST = pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)


@EACH_HOST
@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_ratio_1_is_cfg_bit_for_bit(make, sampler: str):
    host = make()
    plain = samples(host, sampler_name=sampler)
    assert torch.equal(samples(host, {"fdg": {"ratio": 1}}, sampler_name=sampler), plain)
    assert not torch.equal(samples(host, {"fdg": {"ratio": 1.5}}, sampler_name=sampler), plain)


def test_the_hires_pass_may_have_its_own_ratio():
    told = prediction(noise_of(1, 1, 4, 8, 8), noise_of(2, 1, 4, 8, 8), 3.0)
    own, other = technique("fdg", hires_ratio=4), technique("fdg", ratio=4)
    assert torch.equal(own.combine(told, call(hires=True)), other.combine(told, call()))
    assert torch.equal(own.combine(told, call()), technique("fdg").combine(told, call()))
    assert technique("fdg", ratio=1).inert(False) and technique("fdg", ratio=1, hires_ratio=2).inert(True) is None
    assert technique("fdg", ratio=1, project=True).inert(False) is None
