"""Blur of token maps: against numpy's mirrored padding and convolution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lib_sdfm.ops.blur import blur_matrices, blur_matrix, blur_tokens, kernel_size, mean_tokens
from tests.support import noise_of

lengths, sigmas = st.integers(1, 40), st.floats(0.3, 3000)
odd = st.integers(0, 60).map(lambda half: 2 * half + 1)
GRIDS = [(4, 4), (4, 6), (9, 5), (1, 7), (7, 1), (1, 1), (2, 3), (3, 48)]


def gaussian(sigma: float, taps: int) -> np.ndarray:
    weights = np.exp(-0.5 * (np.linspace(-(taps - 1) / 2, (taps - 1) / 2, taps) / sigma) ** 2)
    return weights / weights.sum()


def convolved(plane: np.ndarray, sigma: float, taps: tuple[int, int]) -> np.ndarray:
    """A two-dimensional convolution, one window at a time."""
    kernel = np.outer(gaussian(sigma, taps[0]), gaussian(sigma, taps[1]))
    padded = np.pad(plane, [(size // 2, size // 2) for size in taps], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps)
    return np.einsum("ijkl,kl->ij", windows, kernel)


def blurred(tokens: Tensor, grid: tuple[int, int], sigma: float) -> Tensor:
    taps = (kernel_size(sigma, grid[0]), kernel_size(sigma, grid[1]))
    return blur_tokens(tokens, *blur_matrices(grid, sigma, taps, tokens))


@pytest.mark.parametrize("taps", [(3, 3), (9, 5), (1, 7), (31, 101)], ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("sigma", [0.5, 2.0, 8.0, 1024.0])
def test_it_is_a_convolution_with_mirrored_borders(sigma: float, grid: tuple[int, int], taps: tuple[int, int]):
    tokens = noise_of(1, 2, grid[0] * grid[1], 3).double()
    wanted = torch.empty_like(tokens)
    for row in range(2):
        for channel in range(3):
            plane = convolved(tokens[row, :, channel].view(grid).numpy(), sigma, taps)
            wanted[row, :, channel] = torch.from_numpy(plane).flatten()
    torch.testing.assert_close(blur_tokens(tokens, *blur_matrices(grid, sigma, taps, tokens)), wanted)


@given(lengths, sigmas, odd)
def test_weights_are_shares(length: int, sigma: float, taps: int):
    matrix = blur_matrix(length, sigma, taps)
    assert matrix.shape == (length, length) and (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(1), torch.ones(length, dtype=torch.float64))


@given(lengths, st.floats(0.01, 3000))
def test_the_kernel_is_odd_holds_six_sigma_and_fits_the_axis(length: int, sigma: float):
    taps = kernel_size(sigma, length)
    assert taps % 2 == 1 and 1 <= taps <= length + 1
    assert taps == (length if length % 2 else length + 1) or 6 * sigma <= taps < 6 * sigma + 2


@pytest.mark.parametrize(("sigma", "length", "taps"), [(2.0, 64, 13), (1.0, 64, 7), (2**0.5, 64, 9), (2.0, 6, 7), (2.0, 5, 5)])
def test_known_kernels(sigma: float, length: int, taps: int):
    assert kernel_size(sigma, length) == taps


@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (4, 16), (5, 9)], ids=str)
@pytest.mark.parametrize("exponent", range(11))
def test_a_finite_blur_is_not_the_mean(exponent: int, grid: tuple[int, int]):
    tokens = noise_of(1, 1, grid[0] * grid[1], 4)
    result = blurred(tokens, grid, 2.0**exponent)
    assert (result - mean_tokens(tokens)).abs().max() > 0.01
    assert result.std() < tokens.std()


def test_the_infinite_blur_is_the_mean_of_each_map_and_channel():
    tokens = noise_of(1, 2, 24, 3)
    result = mean_tokens(tokens)
    assert result.shape == tokens.shape
    for row in range(2):
        for channel in range(3):
            assert result[row, :, channel].tolist() == pytest.approx(
                [float(tokens[row, :, channel].double().mean())] * 24, abs=1e-6
            )


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("sigma", [0.5, 2.0, 1024.0])
def test_constant_maps_stay(sigma: float, grid: tuple[int, int]):
    tokens = torch.tensor([3.0, -0.25]).expand(1, math.prod(grid), 2)
    torch.testing.assert_close(blurred(tokens, grid, sigma), tokens)
    torch.testing.assert_close(mean_tokens(tokens), tokens)


@pytest.mark.parametrize("grid", [(3, 48), (48, 3), (1, 96)], ids=str)
def test_huge_sigmas_on_wide_maps(grid: tuple[int, int]):
    """The old extension failed where half the kernel was as long as the shorter side."""
    tokens = noise_of(1, 1, math.prod(grid), 2)
    taps = (kernel_size(1024.0, max(grid)),) * 2
    result = blur_tokens(tokens, *blur_matrices(grid, 1024.0, taps, tokens))
    assert result.isfinite().all() and result.amax() <= tokens.amax() and result.amin() >= tokens.amin()


def test_height_and_width_are_told_apart():
    tokens = noise_of(1, 2, 24, 3)
    turned = tokens.view(2, 4, 6, 3).transpose(1, 2).reshape(2, 24, 3)
    there = blurred(turned, (6, 4), 1.0).view(2, 6, 4, 3).transpose(1, 2).reshape(2, 24, 3)
    torch.testing.assert_close(there, blurred(tokens, (4, 6), 1.0))
    assert not torch.allclose(blurred(tokens, (6, 4), 1.0), there)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_stays_close(dtype: torch.dtype):
    tokens = noise_of(1, 2, 64, 8)
    result = blurred((tokens * 1000).to(dtype), (8, 8), 2.0)
    assert result.dtype == dtype
    torch.testing.assert_close(result.float() / 1000, blurred(tokens, (8, 8), 2.0), atol=0.02, rtol=0.02)
