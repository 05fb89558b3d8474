"""Conversions of predictions: noise (eps) and denoised images (x0) of a variance-preserving latent.

``x = sqrt(alpha_bar) * denoised + sqrt(1 - alpha_bar) * eps`` (DDPM, arXiv 2006.11239, equation 4).
"""

from __future__ import annotations

from torch import Tensor


def eps_to_denoised(eps: Tensor, x: Tensor, alpha_bar: float) -> Tensor:
    """Return the denoised image for a noise prediction.

    :param eps: noise prediction, ``(N, C, H, W)``
    :param x: the noisy latent, same shape
    :param alpha_bar: cumulative product of the noise table, in (0, 1)
    """
    return (x - eps * (1.0 - alpha_bar) ** 0.5) / alpha_bar**0.5


def denoised_to_eps(denoised: Tensor, x: Tensor, alpha_bar: float) -> Tensor:
    """Return the noise prediction for a denoised image; inverse of :func:`eps_to_denoised`."""
    return (x - denoised * alpha_bar**0.5) / (1.0 - alpha_bar) ** 0.5


def noise_to_denoised(noise: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """Return the denoised image for a noise prediction of a variance-exploding latent, ``x = denoised + sigma * noise``.

    :param noise: noise prediction, ``(B, C, H, W)``
    :param x: the noisy latent, same shape
    :param sigma: its noise levels, ``(B, 1, 1, 1)``
    """
    return x - noise * sigma


def denoised_to_noise(denoised: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    """Return the noise prediction for a denoised image; inverse of :func:`noise_to_denoised`."""
    return (x - denoised) / sigma
