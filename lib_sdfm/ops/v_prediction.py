"""v-prediction (Salimans and Ho, arXiv 2202.00512) and noise tables with zero terminal SNR (Lin et al., arXiv 2305.08891).

For DDPM's latent ``x = alpha * x0 + sigma * eps`` with ``alpha^2 + sigma^2 = 1`` a v model predicts
``v = alpha * eps - sigma * x0``. Levels here are k-diffusion's, ``sigma / alpha``: the noise per unit of image.
"""

from __future__ import annotations

import torch
from torch import Tensor

LAST_ALPHA_BAR = 4.8973451890853435e-08
"""Last entry of a table with zero terminal SNR, instead of 0, where the noise level would be infinite; all WebUIs have it."""
TINY = 1e-4
"""Terminal ``alpha_bar`` below which a table counts as one with zero terminal SNR; Stable Diffusion's own ends at 0.0047."""


def v_to_eps(v: Tensor, x: Tensor, level: Tensor) -> Tensor:
    """Return the noise for a v-prediction, ``alpha * v + sigma * x``.

    :param v: ``(N, C, H, W)``
    :param x: DDPM's latent, same shape
    :param level: ``(N, 1, 1, 1)``
    """
    return (v + level * x) * (1 + level**2) ** -0.5


def eps_to_v(eps: Tensor, x: Tensor, level: Tensor) -> Tensor:
    """Return the v-prediction for a noise; inverse of :func:`v_to_eps`."""
    return eps * (1 + level**2) ** 0.5 - level * x


def v_to_denoised(v: Tensor, x: Tensor, level: Tensor) -> Tensor:
    """Return the denoised image for a v-prediction, ``alpha * x - sigma * v``."""
    return (x - level * v) * (1 + level**2) ** -0.5


def with_zero_terminal_snr(alpha_bars: Tensor) -> Tensor:
    """Return a noise table rescaled to end in pure noise (algorithm 1 of the paper), with the same first entry.

    :param alpha_bars: ``(steps,)`` descending; returned in the same type, computed in float64 on the CPU
    """
    roots = alpha_bars.detach().cpu().double().sqrt()
    rescaled = ((roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))) ** 2
    rescaled[-1] = LAST_ALPHA_BAR
    return rescaled.to(alpha_bars.dtype).to(alpha_bars.device)


def has_zero_terminal_snr(alpha_bars: Tensor) -> bool:
    """Return True if a noise table ends in pure noise."""
    return float(alpha_bars[-1]) < TINY


def table_to_level(index: Tensor, alpha_bars: Tensor) -> Tensor:
    """Return the noise level at a table index, interpolated by its logarithm as k-diffusion does: float32, shape of ``index``.

    :param index: index from 0, may be fractional
    :param alpha_bars: the noise table, on the device of ``index``
    """
    alpha_bars = alpha_bars.float()
    logs = ((1 - alpha_bars) / alpha_bars).log() / 2
    index = index.float().clamp(0, len(logs) - 1)
    low = index.floor()
    high = index.ceil().long()
    return torch.lerp(logs[low.long()], logs[high], index - low).exp()
