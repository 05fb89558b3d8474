"""Gaussian blur of token maps, as two small matrix products with the mirrored border folded in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .precision import outside_autocast


def kernel_size(sigma: float, length: int) -> int:
    """Taps of a Gaussian kernel for an axis: ``ceil(6 sigma)`` made odd, at most the axis' length made odd.

    As in the reference of SEG (arXiv 2408.00760).
    """
    taps = math.ceil(6 * sigma)
    taps += 1 - taps % 2
    return min(taps, length + 1 - length % 2)


def blur_matrix(length: int, sigma: float, taps: int) -> Tensor:
    """``(length, length)`` float64: row ``i`` holds the weights of the blurred sample ``i``, borders mirrored.

    :param length: samples of the axis
    :param sigma: standard deviation in samples
    :param taps: odd size of the kernel; may exceed the axis, which is then mirrored again and again
    """
    offsets = torch.arange(taps) - taps // 2
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    weights /= weights.sum()
    period = max(2 * (length - 1), 1)
    places = (torch.arange(length)[:, None] + offsets) % period
    places = torch.minimum(places, period - places) if length > 1 else torch.zeros_like(places)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, places, weights.expand(length, taps))


def blur_matrices(grid: tuple[int, int], sigma: float, taps: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """The matrices of a map's height and width, for :func:`blur_tokens`.

    :param grid: height and width
    :param sigma: standard deviation in tokens
    :param taps: kernel size over height and width
    :param like: of the tokens' type and device
    """
    down, across = (blur_matrix(n, sigma, k).to(like.dtype).to(like.device) for n, k in zip(grid, taps))
    return down, across


def blur_tokens(tokens: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Blurs a map of tokens over its height and width.

    :param tokens: ``(rows, height * width, channels)``
    :param down: matrix of the height, ``(height, height)``
    :param across: matrix of the width
    """
    height, width = len(down), len(across)
    rows, _, channels = tokens.shape
    with outside_autocast(tokens):
        lines = down @ tokens.reshape(rows, height, width * channels)
        return (across @ lines.reshape(rows * height, width, channels)).reshape(tokens.shape)


def mean_tokens(tokens: Tensor) -> Tensor:
    """Replaces every token by the mean of its map: the blur with an infinite sigma. ``(rows, tokens, channels)``."""
    return tokens.mean(dim=1, keepdim=True).expand_as(tokens)
