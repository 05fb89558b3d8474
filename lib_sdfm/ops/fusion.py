"""Saliency-adaptive noise fusion (SANF): selection of one of two guidance terms per element.

After Wang et al., "High-fidelity Person-centric Subject-to-Image Synthesis" (arXiv 2311.10329, equation 6).
"""

from __future__ import annotations

import torch
from torch import Tensor


def saliency(term: Tensor) -> Tensor:
    """Return the magnitude of a term ``(N, C, H, W)``, blurred with a 3x3 Gaussian of sigma 1 and mirrored borders."""
    size = _blur_rows(term.abs())
    return _blur_rows(size.transpose(-1, -2)).transpose(-1, -2)


def _blur_rows(x: Tensor) -> Tensor:
    weights = torch.exp(-0.5 * torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    side, centre, _ = (weights / weights.sum()).tolist()
    # a map of one column has no neighbour to mirror: the border value stands for itself
    left, right = (x[..., 1:2], x[..., -2:-1]) if x.shape[-1] > 1 else (x, x)
    padded = torch.cat([left, x, right], dim=-1)
    return padded[..., 1:-1] * centre + (padded[..., :-2] + padded[..., 2:]) * side


def fuse_over_pixels(first: Tensor, second: Tensor) -> Tensor:
    """Select per element the term whose saliency, softmaxed over the pixels of its channel, is larger (the reference)."""
    return _pick(first, second, saliency(first).flatten(2).softmax(-1), saliency(second).flatten(2).softmax(-1))


def fuse_over_channels(first: Tensor, second: Tensor) -> Tensor:
    """Select per element the term whose saliency, softmaxed over the latent channels, is larger (as incantations did)."""
    return _pick(first, second, saliency(first).softmax(1), saliency(second).softmax(1))


def _pick(first: Tensor, second: Tensor, first_saliency: Tensor, second_saliency: Tensor) -> Tensor:
    return torch.where((first_saliency >= second_saliency).view(first.shape), first, second)
