"""Projected guidance: APG (Sadat et al., arXiv 2410.02416) and the optimised scale of CFG-Zero* (arXiv 2503.18886)."""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = (1, 2, 3)
FLOOR = 1e-8
"""Added by CFG-Zero* to a squared norm."""


def inner_product(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product per image of two maps ``(B, C, H, W)``: ``(B, 1, 1, 1)``."""
    return (a * b).sum(dim=PIXELS, keepdim=True)


def project(x: Tensor, direction: Tensor, parallel: float) -> Tensor:
    """Return ``x`` with its part along ``direction`` scaled, per image (APG, algorithm 1).

    :param x: ``(B, C, H, W)``
    :param direction: same shape; an image of zeros has no direction, and nothing is scaled
    :param parallel: the factor, 0 (only what is orthogonal is left) to 1 (unchanged)
    """
    if parallel == 1.0:
        return x
    square = inner_product(direction, direction)
    share = inner_product(x, direction) / torch.where(square == 0, 1.0, square)
    return x + direction * (share * (parallel - 1.0))


def cap_norm(x: Tensor, threshold: float) -> Tensor:
    """Return ``x`` scaled down to an L2 norm of at most ``threshold``, per image over channels and pixels.

    :param x: ``(B, C, H, W)``
    :param threshold: the norm; 0: not capped
    """
    if threshold == 0.0:
        return x
    norm = inner_product(x, x).sqrt()
    return x * (threshold / torch.where(norm == 0, threshold, norm)).clamp(max=1.0)


def fitted_share(cond: Tensor, uncond: Tensor) -> Tensor:
    """Return the factor of the unconditional velocity with which it is nearest to the conditional one, ``(B, 1, 1, 1)``.

    ``<v_c, v_u> / (|v_u|^2 + 1e-8)``, CFG-Zero*'s equation 8; any common factor of both cancels.

    :param cond: conditional velocity, ``(B, C, H, W)``
    :param uncond: unconditional velocity; 0 gives 0
    """
    return inner_product(cond, uncond) / (inner_product(uncond, uncond) + FLOOR)
