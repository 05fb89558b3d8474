"""Gaussian blur of token maps, as two small matrix products with the mirrored border folded in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .precision import outside_autocast


def kernel_size(sigma: float, length: int) -> int:
    """Return the taps of a Gaussian kernel for an axis: ``ceil(6 sigma)`` made odd, at most the axis' length made odd.

    As in the reference of SEG (arXiv 2408.00760).
    """
    taps = math.ceil(6 * sigma)
    taps += 1 - taps % 2
    return min(taps, length + 1 - length % 2)


def blur_matrix(length: int, sigma: float, taps: int) -> Tensor:
    """Return the blur of an axis, ``(length, length)`` float64: row ``i`` has the weights of output ``i``, borders mirrored.

    :param length: samples of the axis
    :param sigma: standard deviation in samples
    :param taps: odd size of the kernel; may exceed the axis, which is then mirrored repeatedly
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
    """Return the matrices for a map's height and width, see :func:`blur_tokens`.

    :param grid: height and width
    :param sigma: standard deviation in tokens
    :param taps: kernel size over height and width
    :param like: tensor of the tokens' type and device
    """
    down, across = (blur_matrix(n, sigma, k).to(like.dtype).to(like.device) for n, k in zip(grid, taps))
    return down, across


def blur_tokens(tokens: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Blur a map of tokens over its height and width.

    :param tokens: ``(rows, height * width, channels)``
    :param down: matrix for the height, ``(height, height)``
    :param across: matrix for the width
    """
    height, width = len(down), len(across)
    rows, _, channels = tokens.shape
    with outside_autocast(tokens):
        lines = down @ tokens.reshape(rows, height, width * channels)
        return (across @ lines.reshape(rows * height, width, channels)).reshape(tokens.shape)


def mean_tokens(tokens: Tensor) -> Tensor:
    """Replace every token by the mean of its map, the blur with infinite sigma. ``(rows, tokens, channels)``."""
    return tokens.mean(dim=1, keepdim=True).expand_as(tokens)
