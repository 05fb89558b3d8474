"""SANF picks one of two terms per element."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from lib_sdfm.ops.fusion import fuse_over_channels, fuse_over_pixels, saliency
from tests.support import noise_of

FUSIONS = [fuse_over_pixels, fuse_over_channels]
SIZES = [(8, 8), (5, 9), (2, 3), (1, 4), (3, 1), (1, 1)]


def terms(*size: int) -> tuple[Tensor, Tensor]:
    return noise_of(1, 2, 4, *size), 2 * noise_of(2, 2, 4, *size)


@pytest.mark.parametrize("size", [size for size in SIZES if min(size) > 1], ids=str)
def test_saliency_is_torchvisions_gaussian_blur_of_the_size(size: tuple[int, int]):
    first, _ = terms(*size)
    torch.testing.assert_close(saliency(first), gaussian_blur(first.abs(), [3, 3], [1.0, 1.0]))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_saliency_keeps_shape_sign_and_constants(size: tuple[int, int]):
    first, _ = terms(*size)
    assert saliency(first).shape == first.shape
    assert (saliency(first) >= 0).all()
    torch.testing.assert_close(saliency(torch.full_like(first, -2.0)), torch.full_like(first, 2.0))


@pytest.mark.parametrize("fuse", FUSIONS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_each_element_is_one_of_the_two(fuse: Callable[..., Tensor], size: tuple[int, int]):
    first, second = terms(*size)
    fused = fuse(first, second)
    assert ((fused == first) | (fused == second)).all()
    assert fused.shape == first.shape


@pytest.mark.parametrize("fuse", FUSIONS)
def test_neither_term_is_preferred(fuse: Callable[..., Tensor]):
    first, second = terms(8, 8)
    fused = fuse(first, second)
    assert torch.equal(fused, fuse(second, first))
    assert 0.1 < (fused == first).float().mean() < 0.9


@pytest.mark.parametrize("fuse", FUSIONS)
def test_equal_terms_stay(fuse: Callable[..., Tensor]):
    first, _ = terms(8, 8)
    assert torch.equal(fuse(first, first), first)
    assert torch.equal(fuse(first, -first), first)  # equally salient: the first


@pytest.mark.parametrize("fuse", FUSIONS)
def test_images_do_not_mix(fuse: Callable[..., Tensor]):
    first, second = terms(8, 8)
    assert torch.equal(fuse(first, second)[:1], fuse(first[:1], second[:1]))


def test_saliency_is_compared_after_a_softmax_over_pixels_or_channels():
    """Written with loops, from the two definitions."""
    first, second = terms(4, 6)
    blurred = [gaussian_blur(term.abs(), [3, 3], [1.0, 1.0]) for term in (first, second)]
    by_pixels, by_channels = torch.empty_like(first), torch.empty_like(first)
    for image in range(2):
        shares = [b[image].exp() / b[image].exp().sum(0) for b in blurred]
        by_channels[image] = torch.where(shares[0] >= shares[1], first[image], second[image])
        for channel in range(4):
            one, other = (b[image, channel].exp() / b[image, channel].exp().sum() for b in blurred)
            by_pixels[image, channel] = torch.where(one >= other, first[image, channel], second[image, channel])
    assert torch.equal(fuse_over_pixels(first, second), by_pixels)
    assert torch.equal(fuse_over_channels(first, second), by_channels)


@pytest.mark.parametrize("fuse", FUSIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_picks_too(fuse: Callable[..., Tensor], dtype: torch.dtype):
    first, second = (term.to(dtype) * 100 for term in terms(8, 8))
    fused = fuse(first, second)
    assert fused.dtype == dtype and ((fused == first) | (fused == second)).all()
