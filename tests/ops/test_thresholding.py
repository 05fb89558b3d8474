"""Dynamic thresholding, against its definition written out image by image and channel by channel."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib_sdfm.ops.thresholding import CURVES, CURVES_WITH_VALUE, mimic, scheduled_scale
from tests.support import noise_of

PER_CHANNEL, PER_IMAGE, PER_BATCH = (2, 3), (1, 2, 3), (0, 1, 2, 3)
KINDS = list(itertools.product(["MEAN", "ZERO"], ["AD", "STD"]))
UNCOND, RELATIVE = noise_of(1, 2, 4, 8, 6), noise_of(2, 2, 4, 8, 6) * torch.tensor([0.3, 2.0])[:, None, None, None]


def thresholded(dims: tuple[int, ...], startpoint: str, measure: str, quantile: float = 1.0, **more: Tensor | float) -> Tensor:
    given_ = {"uncond": UNCOND, "relative": RELATIVE, "cfg_scale": 12.0, "mimic_scale": 5.0, **more}
    return mimic(**given_, dims=dims, startpoint=startpoint, measure=measure, quantile=quantile)


def groups(dims: tuple[int, ...]) -> list[list[tuple[int, int]]]:
    """The maps (image, channel) that have one range together."""
    maps = list(itertools.product(range(2), range(4)))
    if dims == PER_CHANNEL:
        return [[place] for place in maps]
    return [[p for p in maps if p[0] == image] for image in range(2)] if dims == PER_IMAGE else [maps]


def written_out(dims: tuple[int, ...], startpoint: str, measure: str, quantile: float) -> Tensor:
    uncond, relative = UNCOND.double().numpy(), RELATIVE.double().numpy()
    mim, cfg = uncond + relative * 5.0, uncond + relative * 12.0
    result = np.empty_like(cfg)
    for group in groups(dims):
        mim_c = np.stack([mim[place] - mim[place].mean() for place in group])
        cfg_c = np.stack([cfg[place] - cfg[place].mean() for place in group])
        if measure == "AD":
            mim_ref, cfg_ref = np.abs(mim_c).max(), np.quantile(np.abs(cfg_c), quantile)
        else:
            mim_ref, cfg_ref = mim_c.std(ddof=1), cfg_c.std(ddof=1)
        for place, centred in zip(group, cfg_c):
            if startpoint == "ZERO":
                result[place] = cfg[place] * mim_ref / cfg_ref
            elif measure == "STD":
                result[place] = centred / cfg_ref * mim_ref + cfg[place].mean()
            else:
                ref = max(mim_ref, cfg_ref)
                result[place] = np.clip(centred, -ref, ref) / ref * mim_ref + cfg[place].mean()
    return torch.from_numpy(result).float()


@pytest.mark.parametrize("dims", [PER_CHANNEL, PER_IMAGE, PER_BATCH], ids=str)
@pytest.mark.parametrize(("startpoint", "measure"), KINDS)
@pytest.mark.parametrize("quantile", [1.0, 0.995, 0.9, 0.5])
def test_it_is_the_definition(dims: tuple[int, ...], startpoint: str, measure: str, quantile: float):
    wanted = written_out(dims, startpoint, measure, quantile)
    torch.testing.assert_close(thresholded(dims, startpoint, measure, quantile), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dims", [PER_CHANNEL, PER_IMAGE], ids=str)
@pytest.mark.parametrize(("startpoint", "measure"), KINDS)
def test_a_mimic_scale_equal_to_cfg_keeps_plain_cfg(dims: tuple[int, ...], startpoint: str, measure: str):
    result = thresholded(dims, startpoint, measure, mimic_scale=12.0)
    torch.testing.assert_close(result, UNCOND + 12 * RELATIVE, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dims", [PER_CHANNEL, PER_IMAGE], ids=str)
@pytest.mark.parametrize("quantile", [1.0, 0.9])
def test_the_result_has_the_range_of_the_mimic_scale(dims: tuple[int, ...], quantile: float):
    target = UNCOND + 5 * RELATIVE
    reach = (target - target.mean((2, 3), keepdim=True)).abs().amax(dims, keepdim=True)
    result = thresholded(dims, "MEAN", "AD", quantile)
    spread = (result - (UNCOND + 12 * RELATIVE).mean((2, 3), keepdim=True)).abs().amax(dims, keepdim=True)
    torch.testing.assert_close(spread, reach, rtol=1e-4, atol=1e-4)
    centred = thresholded(dims, "MEAN", "STD") - (UNCOND + 12 * RELATIVE).mean((2, 3), keepdim=True)
    wanted = (target - target.mean((2, 3), keepdim=True)).std(dims)
    torch.testing.assert_close(centred.std(dims), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dims", [PER_CHANNEL, PER_IMAGE, PER_BATCH], ids=str)
@pytest.mark.parametrize(("startpoint", "measure"), KINDS)
@pytest.mark.parametrize("quantile", [1.0, 0.9, 0.0])
def test_constant_maps_stay_finite(dims: tuple[int, ...], startpoint: str, measure: str, quantile: float):
    flat = torch.tensor([1.0, -2.0, 0.0, 0.5])[None, :, None, None].expand(2, 4, 8, 6)
    result = thresholded(dims, startpoint, measure, quantile, uncond=flat, relative=flat * 0.5)
    torch.testing.assert_close(result, flat * 7)
    assert thresholded(dims, startpoint, measure, quantile, uncond=flat).isfinite().all()


def test_maps_of_one_pixel_stay_finite():
    pixel = {"uncond": noise_of(1, 2, 4, 1, 1), "relative": noise_of(2, 2, 4, 1, 1)}
    for startpoint, measure in KINDS:
        assert thresholded(PER_CHANNEL, startpoint, measure, **pixel).isfinite().all()


@pytest.mark.parametrize("dims", [PER_CHANNEL, PER_IMAGE], ids=str)
@pytest.mark.parametrize(("startpoint", "measure"), KINDS)
def test_images_do_not_depend_on_each_other(dims: tuple[int, ...], startpoint: str, measure: str):
    rows = [slice(0, 1), slice(1, 2)]
    alone = [thresholded(dims, startpoint, measure, 0.95, uncond=UNCOND[i], relative=RELATIVE[i]) for i in rows]
    torch.testing.assert_close(thresholded(dims, startpoint, measure, 0.95), torch.cat(alone))


VALUE = 3.0
KNOWN = {
    "Constant": (1, 1, 1),
    "Linear Down": (1, 0.5, 0),
    "Half Cosine Down": (1, math.cos(0.5), math.cos(1)),
    "Cosine Down": (1, math.cos(math.pi / 4), 0),
    "Linear Up": (0, 0.5, 1),
    "Half Cosine Up": (0, 1 - math.cos(0.5), 1 - math.cos(1)),
    "Cosine Up": (0, 1 - math.cos(math.pi / 4), 1),
    "Power Up": (0, 0.125, 1),
    "Power Down": (1, 0.875, 0),
    "Linear Repeating": (1, 0, 1),
    "Cosine Repeating": (1, 0, 1),
    "Sawtooth": (0, 0.5, 0),
}


@pytest.mark.parametrize("mode", CURVES)
def test_each_mode_at_the_beginning_in_the_middle_and_at_the_end(mode: str):
    got = [scheduled_scale(10.0, 2.0, mode, VALUE, time) for time in (0.0, 0.5, 1.0)]
    assert got == pytest.approx([2 + 8 * share for share in KNOWN[mode]], abs=2e-3)  # the original rounds pi


@pytest.mark.parametrize("mode", CURVES)
@given(st.floats(0, 1), st.floats(0, 40), st.floats(0, 30), st.floats(0, 30))
def test_a_scale_stays_between_its_minimum_and_itself(mode: str, time: float, value: float, scale: float, minimum: float):
    low, high = sorted((scale, minimum))
    assert low - 1e-3 <= scheduled_scale(scale, minimum, mode, value, time) <= high + 1e-3


@pytest.mark.parametrize("mode", [mode for mode in CURVES if mode not in CURVES_WITH_VALUE])
def test_the_value_counts_in_the_modes_that_have_one_only(mode: str):
    assert scheduled_scale(10.0, 2.0, mode, 1.0, 0.3) == scheduled_scale(10.0, 2.0, mode, 7.0, 0.3)


@pytest.mark.parametrize("mode", CURVES_WITH_VALUE)
def test_and_there_it_counts(mode: str):
    assert scheduled_scale(10.0, 2.0, mode, 1.0, 0.3) != scheduled_scale(10.0, 2.0, mode, 2.5, 0.3)
