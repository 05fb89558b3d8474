"""Flow matching (rectified flow, arXiv 2209.03003; SD3, arXiv 2403.03206): times, noise levels and predictions.

A flow model is trained on ``x_t = (1 - t) * x0 + t * noise`` (equation 13 of the SD3 paper) and predicts the velocity
``v = noise - x0``, for times ``t`` from 0 (image) to 1 (noise). Divided by ``1 - t`` its latent is the variance-exploding
one of k-diffusion, ``y = x0 + sigma * noise`` with ``sigma = t / (1 - t)``; divided by ``sqrt((1 - t)^2 + t^2)`` it is the
variance-preserving one of DDPM. The denoised image is the same in all three: a flow model is a noise-predicting model
with a different noise table.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

Number = TypeVar("Number", float, Tensor)

LATEST_TIME = 0.9999
"""Upper limit of times: at 1 the noise level is infinite."""
TABLE_SIZE = 1000
SMALLEST_STEP = 1e-8
"""Minimum distance between two entries of a table."""


def shift_time(t: Number, shift: float) -> Number:
    """Return ``shift * t / (1 + (shift - 1) * t)``, which moves times towards noise for shifts above 1 (SD3, equation 23).

    :param t: in [0, 1]
    :param shift: above 0; 1 changes nothing
    """
    return shift * t / (1 + (shift - 1) * t)


def unshift_time(t: Number, shift: float) -> Number:
    """Invert :func:`shift_time`."""
    return t / (shift - (shift - 1) * t)


def time_to_sigma(t: Number) -> Number:
    """Return the noise level of the variance-exploding latent for a time in [0, 1)."""
    return t / (1 - t)


def sigma_to_time(sigma: Number) -> Number:
    """Return the time of a noise level, in [0, 1); inverse of :func:`time_to_sigma`."""
    return sigma / (1 + sigma)


def latest_to_sigma(t: float) -> float:
    """Return the noise level of a time in [0, 1]; that of :data:`LATEST_TIME` for later ones, so that it is finite."""
    return time_to_sigma(min(t, LATEST_TIME))


def time_ratio(start: float, end: float) -> float:
    """Return the ratio of the noise levels of two times in [0, 1], ``end`` over ``start``; 0 from pure noise, 1 if equal."""
    return 1.0 if start == end else end * (1 - start) / (start * (1 - end))


def velocity_to_denoised(velocity: Tensor, x: Tensor, t: Number) -> Tensor:
    """Return the denoised image for a velocity, ``x - t * v``.

    :param velocity: ``(N, C, H, W)``
    :param x: the flow model's latent ``x_t``, same shape
    :param t: a number, or ``(N, 1, 1, 1)``
    """
    return x - t * velocity


def denoised_to_velocity(denoised: Tensor, x: Tensor, t: Number) -> Tensor:
    """Return the velocity for a denoised image, at ``t > 0``; inverse of :func:`velocity_to_denoised`."""
    return (x - denoised) / t


def velocity_to_noise(velocity: Tensor, x: Tensor, t: Number) -> Tensor:
    """Return the noise for a velocity, ``x + (1 - t) * v``."""
    return x + (1 - t) * velocity


def noise_to_velocity(noise: Tensor, x: Tensor, t: Number) -> Tensor:
    """Return the velocity for a noise prediction, at ``t < 1``; inverse of :func:`velocity_to_noise`."""
    return (noise - x) / (1 - t)


def exploding_to_flow(y: Tensor, t: Number) -> Tensor:
    """Return the flow model's latent ``x_t`` for the variance-exploding one, ``x0 + sigma * noise``."""
    return y * (1 - t)


def flow_to_exploding(x: Tensor, t: Number) -> Tensor:
    """Invert :func:`exploding_to_flow`."""
    return x / (1 - t)


def preserving_to_flow(x: Tensor, t: Number) -> Tensor:
    """Return the flow model's latent ``x_t`` for the variance-preserving one."""
    return x * ((1 - t) ** 2 + t**2) ** 0.5


def flow_to_preserving(x: Tensor, t: Number) -> Tensor:
    """Invert :func:`preserving_to_flow`."""
    return x / ((1 - t) ** 2 + t**2) ** 0.5


def time_to_alpha_bar(t: Number) -> Number:
    """Return a noise table's ``alpha_bar = (1 - t)^2 / ((1 - t)^2 + t^2)`` for a time."""
    return (1 - t) ** 2 / ((1 - t) ** 2 + t**2)


def alpha_bar_to_time(alpha_bar: Number) -> Number:
    """Invert :func:`time_to_alpha_bar`."""
    return sigma_to_time(((1 - alpha_bar) / alpha_bar) ** 0.5)


def time_table(shift: float) -> Tensor:
    """Return the times of a noise table of 1000 entries: ``(1000,)`` float64, ascending, up to :data:`LATEST_TIME`.

    No two are equal at any shift: the WebUIs interpolate between them.

    :raises ValueError: if ``shift`` isn't above 0
    """
    if not shift > 0:
        raise ValueError(f"a shift above 0, not {shift}")
    places = torch.arange(1, TABLE_SIZE + 1, dtype=torch.float64)
    return torch.minimum(shift_time(places / TABLE_SIZE, shift), LATEST_TIME - SMALLEST_STEP * (TABLE_SIZE - places))


def table_to_time(index: Tensor, table: Tensor) -> Tensor:
    """Return the time for a table index, interpolated by the logarithm of the noise level.

    :param index: index from 0, may be fractional
    :param table: see :func:`time_table`
    """
    index = index.to(table.dtype).clamp(0, len(table) - 1)
    low = index.floor().long()
    logs = time_to_sigma(table).log()
    high = (low + 1).clamp(max=len(table) - 1)
    return sigma_to_time(torch.lerp(logs[low], logs[high], index - low).exp())
