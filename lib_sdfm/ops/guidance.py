"""Guidance terms of perturbed predictions, and their scaling."""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = (1, 2, 3)


def perturbed_term(cond: Tensor, perturbed: Tensor, scale: float) -> Tensor:
    """Return ``scale * (cond - perturbed)``: PAG (arXiv 2403.17377, equation 16) and SEG (arXiv 2408.00760, equation 13).

    :param cond: predictions of the conditional rows, ``(N, C, H, W)``
    :param perturbed: the same rows with perturbed attention
    """
    return (cond - perturbed) * scale


def adaptive_scale(scale: float, adaptive: float, timestep: float) -> float:
    """Return ``scale - scale * adaptive^4 * (1000 - timestep)``, at least 0: fades guidance towards the end of sampling.

    :param adaptive: 0 (constant) to 1 (only at the very first timestep); pamparamm's definition
    :param timestep: the model time, 0 to 999
    """
    return max(scale - scale * adaptive**4 * (1000.0 - timestep), 0.0)


def rescale_term(term: Tensor, cond: Tensor, guided: Tensor, rescale: float) -> Tensor:
    """Shrink a guidance term so that the result keeps the contrast of ``cond``, after Lin et al. (arXiv 2305.08891, 3.4).

    ``term * (rescale * std(cond) / std(guided + term) + 1 - rescale)``, standard deviations per image.

    :param term: guidance term, ``(B, C, H, W)``
    :param cond: the conditional prediction of each image
    :param guided: the result that the term is added to
    :param rescale: 0 (off) to 1
    """
    if rescale == 0.0:
        return term
    deviation = (guided + term).std(dim=PIXELS, keepdim=True)
    factor = cond.std(dim=PIXELS, keepdim=True) / torch.where(deviation == 0, 1.0, deviation)
    return term * (rescale * factor + (1.0 - rescale))


def rescale_guided(guided: Tensor, cond: Tensor, noisy: Tensor, sigma: float, phi: float) -> Tensor:
    """Rescale CFG to the contrast of the conditional prediction: Lin et al. (arXiv 2305.08891), equations 15 and 16.

    The paper's model outputs are velocities, of a denoised image ``D``: ``v = (u - D) * sqrt(sigma^2 + 1) / sigma`` with
    ``u = noisy / (sigma^2 + 1)`` (Salimans and Ho, arXiv 2202.00512). Standard deviations are per image.

    :param guided: the guided denoised image, ``(B, C, H, W)``
    :param cond: the conditional prediction of each image
    :param noisy: the noisy latents, ``x0 + sigma * noise``
    :param phi: weight of the rescaled velocity, 0 (none) to 1
    """
    if phi == 0.0:
        return guided
    origin = noisy / (sigma**2 + 1)
    velocity = origin - guided
    deviation, wanted = (v.std(dim=PIXELS, keepdim=True) for v in (velocity, origin - cond))
    ratio = torch.where(deviation == 0, 1.0, wanted / torch.where(deviation == 0, 1.0, deviation))
    return origin - velocity * (phi * ratio + (1.0 - phi))


def positive_biased(guided: Tensor, cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Blend CFG's result with the scaled conditional prediction, the more the less that agrees with ``uncond`` (MaHiRo).

    ``k * guided + (1 - k) * scale * cond``, where ``k`` is the mean agreement of an image, 0 to 1. As published by yoinked
    ("MaHiRo", also "Positive-Biased Guidance"), but for each image by itself.

    :param guided: CFG's result, ``(B, C, H, W)``, in x0 as all others
    :param cond: the conditional prediction of each image
    :param uncond: the unconditional prediction
    :param scale: the CFG scale, above 1
    """
    leap = cond * scale
    agreement = _channel_cosine(signed_root(uncond * scale), signed_root((leap + guided) / 2))
    share = (agreement.mean(dim=PIXELS, keepdim=True) + 1) / 2
    return guided * share + leap * (1 - share)


def signed_root(x: Tensor) -> Tensor:
    """Return the square root of the absolute value, with the sign."""
    return x.sign() * x.abs().sqrt()


def _channel_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of two maps over channels in each pixel, ``(B, 1, H, W)``; 0 where one is 0."""
    norms = ((a * a).sum(dim=1, keepdim=True) * (b * b).sum(dim=1, keepdim=True)).sqrt()
    return (a * b).sum(dim=1, keepdim=True) / norms.clamp(min=1e-8)


def scale_noise(denoised: Tensor, noisy: Tensor, factor: float) -> Tensor:
    """Return the denoised image for a noise prediction divided by ``factor``: ``x - (x - D) / b`` (arXiv 2308.15321).

    :param denoised: ``(B, C, H, W)``
    :param noisy: the latent that it was predicted from: ``x0 + sigma * noise``, of a flow model ``x_t``
    :param factor: above 0; 1 changes nothing
    """
    return noisy - (noisy - denoised) / factor
