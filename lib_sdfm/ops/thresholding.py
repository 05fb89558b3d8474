"""Dynamic thresholding: CFG with the value range of a smaller ("mimic") CFG scale."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

MEAN, ZERO = "MEAN", "ZERO"
AD, STD = "AD", "STD"
CONSTANT = "Constant"
HALF_PI, TWO_PI = 1.5707, 6.28318  # as the original rounds them
CURVES: dict[str, Callable[[float, float], float]] = {
    CONSTANT: lambda time, value: 1.0,
    "Linear Down": lambda time, value: 1.0 - time,
    "Cosine Down": lambda time, value: math.cos(time * HALF_PI),
    "Half Cosine Down": lambda time, value: math.cos(time),
    "Linear Up": lambda time, value: time,
    "Cosine Up": lambda time, value: 1.0 - math.cos(time * HALF_PI),
    "Half Cosine Up": lambda time, value: 1.0 - math.cos(time),
    "Power Up": lambda time, value: time**value,
    "Power Down": lambda time, value: 1.0 - time**value,
    "Linear Repeating": lambda time, value: abs(0.5 - time * value % 1.0) * 2,
    "Cosine Repeating": lambda time, value: math.cos(time * TWO_PI * value) * 0.5 + 0.5,
    "Sawtooth": lambda time, value: time * value % 1.0,
}
"""Functions by the mode's name, from time in [0, 1] and the schedule's value to the fraction of a scale above its minimum."""
CURVES_WITH_VALUE = ("Power Up", "Power Down", "Linear Repeating", "Cosine Repeating", "Sawtooth")


def scheduled_scale(scale: float, minimum: float, mode: str, value: float, time: float) -> float:
    """Return a scale at a time of the run: ``minimum + (scale - minimum) * curve(time)``.

    :param mode: a key of :data:`CURVES`
    :param value: exponent or number of repetitions, for modes with a value
    :param time: 0 (start) to 1 (end of sampling)
    """
    return minimum + (scale - minimum) * CURVES[mode](time, value)


def mimic(
    uncond: Tensor,
    relative: Tensor,
    cfg_scale: float,
    mimic_scale: float,
    *,
    startpoint: str,
    measure: str,
    quantile: float,
    dims: tuple[int, ...],
) -> Tensor:
    """Return ``uncond + cfg_scale * relative``, brought to the range of ``uncond + mimic_scale * relative``.

    :param uncond: ``(B, C, H, W)``
    :param relative: weighted sum of ``cond - uncond`` over an image's prompts, same shape
    :param startpoint: ``MEAN`` scales about the mean of each image and channel, ``ZERO`` about 0
    :param measure: ``AD`` compares largest absolute deviations from the mean, ``STD`` standard deviations
    :param quantile: quantile of the CFG result's deviations that counts as its range, 0 to 1 (``AD``)
    :param dims: dimensions over which a range is taken: ``(2, 3)`` per channel, ``(1, 2, 3)`` per image
    """
    guided = uncond + relative * cfg_scale
    target = uncond + relative * mimic_scale
    means = guided.mean(dim=(2, 3), keepdim=True)
    centred = guided - means
    target_centred = target - target.mean(dim=(2, 3), keepdim=True)
    if measure == STD:
        wanted, had = _deviation(target_centred, dims), _deviation(centred, dims)
    else:
        wanted = target_centred.abs().amax(dim=dims, keepdim=True)
        had = _quantile(centred.abs(), quantile, dims)
    if startpoint == ZERO:
        return guided * _ratio(wanted, had)
    if measure == AD:
        had = torch.maximum(wanted, had)
        centred = torch.minimum(torch.maximum(centred, -had), had)
    return centred * _ratio(wanted, had) + means


def _deviation(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the standard deviation; that of a single value is 0."""
    single = all(x.shape[d] == 1 for d in dims)
    return x.std(dim=dims, keepdim=True, correction=0 if single else 1)


def _quantile(x: Tensor, share: float, dims: tuple[int, ...]) -> Tensor:
    if share == 1.0:
        return x.amax(dim=dims, keepdim=True)
    kept = [d for d in range(x.ndim) if d not in dims]
    flat = x.permute(*kept, *dims).flatten(len(kept))
    return flat.quantile(share, dim=-1)[(...,) + (None,) * len(dims)]


def _ratio(wanted: Tensor, had: Tensor) -> Tensor:
    """Return ``wanted / had``, or 1 where there is no range (a constant map)."""
    return torch.where(had == 0, torch.ones_like(had), wanted / had)
