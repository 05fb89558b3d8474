"""Terms that guidance by a perturbed prediction adds, and what scales them."""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = (1, 2, 3)


def perturbed_term(cond: Tensor, perturbed: Tensor, scale: float) -> Tensor:
    """``scale * (cond - perturbed)``: PAG (arXiv 2403.17377, equation 16) and SEG (arXiv 2408.00760, equation 13).

    :param cond: predictions of the cond rows, ``(N, C, H, W)``
    :param perturbed: the same rows with perturbed attention
    """
    return (cond - perturbed) * scale


def adaptive_scale(scale: float, adaptive: float, timestep: float) -> float:
    """``scale - scale * adaptive^4 * (1000 - timestep)``, at least 0: fades guidance towards the end of sampling.

    :param adaptive: 0 (constant) to 1 (only at the very first timestep); pamparamm's definition
    :param timestep: the model's time, 0 to 999
    """
    return max(scale - scale * adaptive**4 * (1000.0 - timestep), 0.0)


def rescale_term(term: Tensor, cond: Tensor, guided: Tensor, rescale: float) -> Tensor:
    """Shrinks a guidance term so that the result keeps cond's contrast, after Lin et al. (arXiv 2305.08891, 3.4).

    ``term * (rescale * std(cond) / std(guided + term) + 1 - rescale)``, standard deviations per image.

    :param term: what guidance adds, ``(B, C, H, W)``
    :param cond: the cond prediction of each image
    :param guided: the result that the term is added to
    :param rescale: 0 (not at all) to 1
    """
    if rescale == 0.0:
        return term
    deviation = (guided + term).std(dim=PIXELS, keepdim=True)
    factor = cond.std(dim=PIXELS, keepdim=True) / torch.where(deviation == 0, 1.0, deviation)
    return term * (rescale * factor + (1.0 - rescale))


def rescale_guided(guided: Tensor, cond: Tensor, noisy: Tensor, sigma: float, phi: float) -> Tensor:
    """Brings CFG's contrast back to that of the cond prediction: Lin et al. (arXiv 2305.08891), equations 15 and 16.

    The paper's model outputs are velocities, of a denoised image ``D``: ``v = (u - D) * sqrt(sigma^2 + 1) / sigma`` with
    ``u = noisy / (sigma^2 + 1)`` (Salimans and Ho, arXiv 2202.00512). Standard deviations per image.

    :param guided: the guided denoised image, ``(B, C, H, W)``
    :param cond: the cond prediction of each image
    :param noisy: what was denoised, ``x0 + sigma * noise``
    :param phi: share of the rescaled velocity, 0 (none) to 1
    """
    if phi == 0.0:
        return guided
    origin = noisy / (sigma**2 + 1)
    velocity = origin - guided
    deviation, wanted = (v.std(dim=PIXELS, keepdim=True) for v in (velocity, origin - cond))
    ratio = torch.where(deviation == 0, 1.0, wanted / torch.where(deviation == 0, 1.0, deviation))
    return origin - velocity * (phi * ratio + (1.0 - phi))
