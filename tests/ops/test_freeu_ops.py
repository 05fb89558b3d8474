"""FreeU's arithmetic, against diffusers where it has the same."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers.utils.torch_utils import apply_freeu, fourier_filter
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.ops.freeu import channel_window, filter_skip, scale_backbone, schedule_share
from tests.support import noise_of

SIZES = [(8, 8), (9, 5), (3, 3), (2, 2), (6, 16), (7, 7), (1, 4)]
HALF = channel_window(0.0, 0.5, 16, inclusive=False)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("factor", [0.2, 0.9, 1.5, -0.5])
def test_the_filter_is_diffusers(size: tuple[int, int], factor: float):
    skip = noise_of(1, 2, 8, *size)
    torch.testing.assert_close(filter_skip(skip, 0.0, factor, 1.0), fourier_filter(skip, 1, factor))


@pytest.mark.parametrize(("cutoff", "reach"), [(0.0, 1), (0.1, 1), (0.25, 2), (0.3, 2), (0.5, 4), (1.0, 8)])
def test_the_cutoff_widens_the_square_of_low_frequencies(cutoff: float, reach: int):
    skip = noise_of(1, 1, 4, 16, 16)
    torch.testing.assert_close(filter_skip(skip, cutoff, 0.3, 1.0), fourier_filter(skip, reach, 0.3))


@pytest.mark.parametrize(("cutoff", "reach"), [(0.35, 7), (0.4, 8), (0.45, 9), (0.9, 18)])
def test_products_and_transform_agree_where_one_takes_over_from_the_other(cutoff: float, reach: int):
    skip = noise_of(1, 1, 4, 40, 40)
    torch.testing.assert_close(filter_skip(skip, cutoff, 0.3, 1.0), fourier_filter(skip, reach, 0.3))


def test_the_cutoff_is_a_share_of_each_axis():
    skip = noise_of(1, 1, 2, 8, 32)
    low = skip - filter_skip(skip, 0.5, 0.0, 1.0)  # what was taken away
    present = torch.fft.fftshift(torch.fft.fft2(low), dim=(-2, -1)).abs().amax(dim=(0, 1)) > 1e-4
    rows, columns = present.any(1).nonzero().flatten(), present.any(0).nonzero().flatten()
    # the original's square reaches one further to the negative side, whose mirror image a real picture has as well
    assert (rows.min(), rows.max()) == (4 - 2, 4 + 2) and (columns.min(), columns.max()) == (16 - 8, 16 + 8)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_low_and_high_frequencies_make_up_the_whole(size: tuple[int, int]):
    skip = noise_of(1, 2, 4, *size)
    parts = filter_skip(skip, 0.4, 1.0, 0.0) + filter_skip(skip, 0.4, 0.0, 1.0)
    torch.testing.assert_close(parts, skip)
    torch.testing.assert_close(filter_skip(skip, 0.4, 0.7, 0.7), skip * 0.7)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_version_1_of_the_backbone_is_diffusers(size: tuple[int, int]):
    h, skip = noise_of(1, 2, 16, *size), noise_of(2, 2, 8, *size)
    wanted, _ = apply_freeu(0, h.clone(), skip, s1=1.0, b1=1.3)
    assert torch.equal(scale_backbone(h, HALF, 1.3, "1"), wanted)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_version_2_scales_by_the_normalised_mean_feature_of_each_image(size: tuple[int, int]):
    h = noise_of(1, 2, 16, *size)
    wanted = h.clone()
    for image in range(2):
        mean = sum(h[image, channel] for channel in range(16)) / 16
        strength = (mean - mean.min()) / (mean.max() - mean.min())
        for channel in range(8):
            wanted[image, channel] = h[image, channel] * (1 + 0.4 * strength)
    torch.testing.assert_close(scale_backbone(h, HALF, 1.4, "2"), wanted)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_neutral_factors_are_bit_equal(version: str, dtype: torch.dtype):
    h = noise_of(1, 2, 16, 5, 7).to(dtype)
    assert torch.equal(scale_backbone(h, HALF, 1.0, version), h)
    assert filter_skip(h, 0.3, 1.0, 1.0) is h


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 5)], ids=str)
def test_constant_maps_stay_finite(version: str, size: tuple[int, int]):
    """Version 2 divides by the range of the mean feature, which is 0 here: nothing stands out, so nothing is scaled."""
    h = torch.tensor([2.0, -1.0]).repeat(8)[None, :, None, None].expand(1, 16, *size)
    scaled = scale_backbone(h, HALF, 1.4, version)
    assert torch.equal(scaled, h if version == "2" else torch.cat([h[:, :8] * 1.4, h[:, 8:]], dim=1))
    torch.testing.assert_close(filter_skip(h, 0.0, 0.5, 1.0), h * 0.5)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_float16_stays_finite_and_close(version: str, size: tuple[int, int]):
    h = noise_of(1, 2, 16, *size) * 1000
    scaled, filtered = scale_backbone(h.half(), HALF, 1.4, version), filter_skip(h.half(), 0.3, 0.4, 1.1)
    assert scaled.dtype == filtered.dtype == torch.float16
    torch.testing.assert_close(scaled.float(), scale_backbone(h, HALF, 1.4, version), rtol=5e-3, atol=5)
    torch.testing.assert_close(filtered.float(), filter_skip(h, 0.3, 0.4, 1.1), rtol=5e-3, atol=5)


@pytest.mark.parametrize("version", ["1", "2"])
def test_images_do_not_depend_on_each_other(version: str):
    h = noise_of(1, 2, 16, 6, 6) * torch.tensor([1.0, 30.0])[:, None, None, None]
    both = scale_backbone(h, HALF, 1.4, version)
    assert torch.equal(both, torch.cat([scale_backbone(h[i : i + 1], HALF, 1.4, version) for i in (0, 1)]))


@pytest.mark.parametrize(("inclusive", "count"), [(False, 640), (True, 641)])
def test_half_the_channels_are_one_more_in_the_original(inclusive: bool, count: int):
    window = channel_window(0.0, 0.5, 1280, inclusive)
    assert window.sum() == count and window[:count].all()


@pytest.mark.parametrize(("inclusive", "count"), [(False, 0), (True, 1)])
def test_a_window_without_width(inclusive: bool, count: int):
    assert channel_window(0.25, 0.0, 1280, inclusive).sum() == count


places = st.integers(0, 63).map(lambda n: n / 64)


@given(places, st.integers(0, 64).map(lambda n: n / 64))
def test_a_window_goes_on_at_the_first_channel(offset: float, width: float):
    window = channel_window(offset, width, 320, inclusive=False)
    wanted = {channel % 320 for channel in range(int(offset * 320), int((offset + width) * 320))}
    assert set(window.nonzero().flatten().tolist()) == wanted
    assert torch.equal(channel_window((offset + width) % 1.0, 1 - width, 320, inclusive=False), ~window)


@given(places, st.integers(1, 63).map(lambda n: n / 64))
def test_the_originals_window_has_one_channel_more_or_where_it_wraps_one_less(offset: float, width: float):
    window = channel_window(offset, width, 320, inclusive=True)
    wraps, ends_at_the_last = offset + width > 1, offset + width == 1
    assert window.sum() == 320 * width + (-1 if wraps else 0 if ends_at_the_last else 1)


@given(st.floats(0, 60), st.integers(0, 50), st.integers(0, 50), st.floats(0, 1))
def test_the_share_blends_window_and_ramp(step: float, start: int, stop: int, smoothness: float):
    window, ramp = (schedule_share(step, start, stop, s) for s in (0.0, 1.0))
    assert window == (1.0 if start <= step < stop else 0.0)
    assert 0 <= ramp <= 1
    share = schedule_share(step, start, stop, smoothness)
    assert share == pytest.approx((1 - smoothness) * window + smoothness * ramp, abs=1e-12)


@pytest.mark.parametrize(
    ("start", "stop", "ramp"),
    [
        (0, 4, [1, 0.75, 0.5, 0.25, 0, 0]),
        (2, 4, [0, 0.5, 1, 0.5, 0, 0]),
        (0, 0, [0, 0, 0, 0, 0, 0]),
        (3, 3, [0, 0, 0, 0, 0, 0]),
        (4, 5, [0, 0.25, 0.5, 0.75, 1, 0]),
    ],
)
def test_the_ramp_swells_to_the_start_and_fades_to_the_stop(start: int, stop: int, ramp: list[float]):
    assert [schedule_share(step, start, stop, 1.0) for step in range(6)] == ramp


@pytest.mark.parametrize("smoothness", [0.0, 0.4, 1.0])
def test_start_equal_to_stop_is_never_on(smoothness: float):
    assert all(schedule_share(step, 3, 3, smoothness) == 0 for step in range(8))
    assert not math.isnan(schedule_share(0, 0, 0, smoothness))
