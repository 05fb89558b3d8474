"""FreeU, arXiv 2309.11497: stronger backbone features, weaker low frequencies of skip features in the decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def channel_window(offset: float, width: float, channels: int, inclusive: bool) -> Tensor:
    """Which channels count as backbone: ``(channels,)`` bool.

    :param offset: where the window begins, as a share of the channels, 0 to 1
    :param width: its share, 0 to 1; beyond the last channel it goes on at the first
    :param inclusive: the channel at the window's end belongs to it (as in sd-webui-freeu: 641 of 1280)
    """
    offset = math.fmod(offset, 1.0)
    wraps = width + offset > 1
    start, end = ((width + offset - 1), offset) if wraps else (offset, width + offset)
    first, last = round(start * channels), round(end * channels)
    place = torch.arange(channels)
    inside = (first <= place) & (place <= last if inclusive else place < last)
    return ~inside if wraps else inside


def scale_backbone(h: Tensor, window: Tensor, factor: float, version: str) -> Tensor:
    """Backbone features ``(B, C, H, W)`` with the channels of ``window`` scaled.

    :param factor: scale; version 2 gives it in full only where the mean feature is largest (section 3.3)
    """
    scale: Tensor | float = factor
    if version == "2":
        scale = 1 + (factor - 1) * _normalised_mean(h)
    return torch.where(window.to(h.device)[:, None, None], h * scale, h).to(h.dtype)


def _normalised_mean(h: Tensor) -> Tensor:
    """The mean over channels, from 0 at its smallest to 1 at its largest per image; 0 where it is constant."""
    mean = h.mean(dim=1, keepdim=True)
    low, high = mean.amin(dim=(2, 3), keepdim=True), mean.amax(dim=(2, 3), keepdim=True)
    return torch.where(high == low, torch.zeros_like(mean), (mean - low) / (high - low))


def filter_skip(skip: Tensor, cutoff: float, low: float, high: float) -> Tensor:
    """Skip features ``(B, C, H, W)`` with low spatial frequencies times ``low`` and the others times ``high``.

    :param cutoff: half the side of the square of low frequencies, as a share of the spectrum, at least one frequency
    """
    if low == high == 1:
        return skip
    spectrum = torch.fft.fft2(skip.float())
    gain = torch.outer(*(_is_low(n, cutoff, skip.device) for n in skip.shape[-2:]))
    spectrum = spectrum * torch.where(gain, low, high)
    return torch.fft.ifft2(spectrum).real.to(skip.dtype)


def _is_low(length: int, cutoff: float, device: torch.device) -> Tensor:
    """Which frequencies of an axis, in FFT order, are low."""
    centre = length // 2
    reach = max(1, math.floor(centre * cutoff))
    place = torch.arange(length, device=device)
    return torch.fft.ifftshift((place >= centre - reach) & (place < centre + reach))


def schedule_share(step: float, start: int, stop: int, smoothness: float) -> float:
    """How strongly FreeU acts at a step: between a flat window ``start <= step < stop`` and a ramp that peaks at start.

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
