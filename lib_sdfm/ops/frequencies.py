"""Low and high frequencies of a latent: the two levels of FDG's Laplacian pyramid (arXiv 2506.19713), which is kornia's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .precision import outside_autocast

TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def shrink(x: Tensor) -> Tensor:
    """Return a map ``(B, C, H, W)`` at half its size: a 5x5 blur, and means of 2x2 pixels.

    At the edges it is continued by reflection; a side of odd length is first continued by one pixel.

    :param x: sides of at least 3 pixels
    """
    height, width = x.shape[-2:]
    even = F.pad(x, (0, width % 2, 0, height % 2), mode="reflect")
    with outside_autocast(x):
        return F.avg_pool2d(_blur(even), 2)


def enlarge(half: Tensor, height: int, width: int) -> Tensor:
    """Return a map of half size at its whole size: bilinear doubling, the blur again; an odd side loses its last pixel."""
    with outside_autocast(half):
        doubled = F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
    return _blur(doubled)[..., :height, :width]


def low_frequencies(x: Tensor) -> Tensor:
    """Return the low frequencies of a map ``(B, C, H, W)``; the rest of it are the high ones."""
    return enlarge(shrink(x), *x.shape[-2:])


def _blur(x: Tensor) -> Tensor:
    """Return a map blurred along both axes, as a sum of shifted maps, so that an image doesn't depend on its batch."""
    edge = len(TAPS) // 2
    for dim, padding in ((-2, (0, 0, edge, edge)), (-1, (edge, edge, 0, 0))):
        padded, size = F.pad(x, padding, mode="reflect"), x.shape[dim]
        x = sum(padded.narrow(dim, i, size) * tap for i, tap in enumerate(TAPS))
    return x
