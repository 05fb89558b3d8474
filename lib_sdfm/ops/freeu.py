"""FreeU, arXiv 2309.11497: stronger backbone features, weaker low frequencies of skip features in the decoder."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .precision import at_least_float32, outside_autocast


@lru_cache(maxsize=64)
def channel_window(offset: float, width: float, channels: int, inclusive: bool, device: torch.device | None = None) -> Tensor:
    """Return the mask of channels that count as backbone: ``(channels,)`` bool, cached by its arguments.

    :param offset: start of the window, as a fraction of the channels, 0 to 1
    :param width: its width as a fraction, 0 to 1; it wraps around after the last channel
    :param inclusive: true if the channel at the window's end belongs to it (as in sd-webui-freeu: 641 of 1280)
    """
    offset = math.fmod(offset, 1.0)
    wraps = width + offset > 1
    start, end = ((width + offset - 1), offset) if wraps else (offset, width + offset)
    first, last = round(start * channels), round(end * channels)
    place = torch.arange(channels)
    inside = (first <= place) & (place <= last if inclusive else place < last)
    return (~inside if wraps else inside).to(device)


def scale_backbone(h: Tensor, window: Tensor, factor: float, version: str) -> Tensor:
    """Return backbone features ``(B, C, H, W)`` with the channels of ``window`` scaled.

    :param factor: scale; version 2 applies it in full only where the mean feature is largest (section 3.3)
    """
    scale: Tensor | float = factor
    if version == "2":
        scale = (1 + (factor - 1) * _normalised_mean(h)).to(h.dtype)
    return torch.where(window[:, None, None], h * scale, h)


def _normalised_mean(h: Tensor) -> Tensor:
    """Return the mean over channels in float32, normalised per image to 0 (smallest) to 1 (largest); 0 if it is constant."""
    mean = h.mean(dim=1, keepdim=True, dtype=torch.promote_types(h.dtype, torch.float32))
    low, high = mean.amin(dim=(2, 3), keepdim=True), mean.amax(dim=(2, 3), keepdim=True)
    return torch.where(high == low, torch.zeros_like(mean), (mean - low) / (high - low))


FEW = 8
"""Number of frequencies on either side of an axis up to which matrix products cost less than a Fourier transform."""


def filter_skip(skip: Tensor, cutoff: float, low: float, high: float) -> Tensor:
    """Return skip features ``(B, C, H, W)`` with low spatial frequencies times ``low`` and the others times ``high``.

    Computed in float32 at least, inside autocast too: in half precision sums over a map would overflow.

    :param cutoff: half the side of the square of low frequencies, as a fraction of the spectrum, at least one frequency
    """
    if low == high:
        return skip if low == 1 else skip * low
    reach = tuple(max(1, math.floor(n // 2 * cutoff)) for n in skip.shape[-2:])
    mix = _mix_by_products if max(reach) <= FEW else _mix_by_transform
    with outside_autocast(skip):
        return mix(at_least_float32(skip), reach, low - high, high).to(skip.dtype)


def _mix_by_transform(features: Tensor, reach: tuple[int, ...], low: float, whole: float) -> Tensor:
    """Return ``whole`` times the features plus ``low`` times their low frequencies, by a Fourier transform."""
    masks = [_is_low(n, r).to(features.device) for n, r in zip(features.shape[-2:], reach)]
    spectrum = torch.fft.fft2(features) * torch.outer(*masks)
    return torch.add(features * whole, torch.fft.ifft2(spectrum).real, alpha=low)


def _is_low(length: int, reach: int) -> Tensor:
    """Return the mask of an axis' low frequencies, in FFT order."""
    centre = length // 2
    place = torch.arange(length)
    return torch.fft.ifftshift((place >= centre - reach) & (place < centre + reach))


def _mix_by_products(features: Tensor, reach: tuple[int, ...], low: float, whole: float) -> Tensor:
    """Return the same by matrix products with the few low-frequency waves: analysis, then synthesis.

    With C and S the waves' cosines and sines of an axis, the coefficients are
    ``X = (C_h - i S_h) x (C_w - i S_w)^T / (H W)``, and the low frequencies are the real part of
    ``(C_h + i S_h)^T X (C_w + i S_w)``.
    """
    size, device, kind = features.shape, features.device, features.dtype
    (down, down_share), (across, across_share) = (_waves(n, r, device, kind) for n, r in zip(size[-2:], reach))
    cc, cs, sc, ss = _quarters(down_share @ features @ across_share.mT)
    real, imaginary = cc - ss, cs + sc
    rows = down.mT @ torch.cat([torch.cat([real, imaginary], -1), torch.cat([imaginary, -real], -1)], -2)
    lines = features.reshape(-1, size[-1])
    return torch.addmm(lines, rows.reshape(len(lines), -1), across, beta=whole, alpha=low).reshape(size)


@lru_cache(maxsize=256)
def _waves(length: int, reach: int, device: torch.device, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosines, then sines, of the low frequencies of an axis: ``(4 * reach, length)``, or fewer on a short axis.

    :return: the waves, and the waves divided by ``length``, whose products with a map are means within its range
    """
    frequencies = torch.arange(-min(reach, length // 2), min(reach, length - length // 2))
    angles = (torch.outer(frequencies, torch.arange(length)) % length).double() * (2 * math.pi / length)
    waves = torch.cat([angles.cos(), angles.sin()])
    return waves.to(kind).to(device), (waves / length).to(kind).to(device)


def _quarters(table: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the four quarters of ``(..., 2 m, 2 n)``, row by row."""
    upper, lower = table.chunk(2, dim=-2)
    return (*upper.chunk(2, dim=-1), *lower.chunk(2, dim=-1))


def schedule_share(step: float, start: int, stop: int, smoothness: float) -> float:
    """Return FreeU's strength at a step: between a flat window ``start <= step < stop`` and a ramp that peaks at start.

    :param smoothness: 0 (the window) to 1 (the ramp)
    """
    flat = 1.0 if start <= step < stop else 0.0
    if start == stop:
        ramp = 0.0
    elif step < start:
        ramp = step / start
    else:
        ramp = 1 + (step - start) / (start - stop)
    return (1 - smoothness) * flat + smoothness * min(1.0, max(0.0, ramp))
