"""The edge between the sampler's space of predictions and that of the techniques."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...ops.spaces import denoised_to_eps, eps_to_denoised


def alpha_bar_of(denoiser: Any, level: Tensor) -> Tensor | None:
    """alpha_bar of a timestep, ``()``, or ``None`` where the denoiser counts in sigmas (k-diffusion samplers).

    :param denoiser: A1111's CFG denoiser; only models of k-diffusion samplers have ``sigmas``
    :param level: the denoiser call's sigma or timestep
    """
    if hasattr(denoiser.inner_model, "sigmas"):
        return None
    # indexing with a single number would wait for it
    return denoiser.alphas.index_select(0, level.long().reshape(1).to(denoiser.alphas.device)).reshape(()).float()


class Space:
    """Where the techniques compute: x0 in float32, or the sampler's own space.

    :param denoiser: A1111's CFG denoiser
    :param params: what the host told about this call; the last rows of its ``x`` are the latents, one per image
    :param images: number of images
    :param convert: x0 in float32; else everything stays as it is
    """

    def __init__(self, denoiser: Any, params: Any, images: int, convert: bool) -> None:
        self._convert = convert
        self._alpha_bar = alpha_bar_of(denoiser, params.sigma[-1]) if convert else None
        self._x = params.x[-images:].float() if convert else None

    @property
    def noisy(self) -> Tensor | None:
        """The latents as k-diffusion has them, ``x0 + sigma * noise``; ``None`` where nothing is converted."""
        return self._x if self._x is None or self._alpha_bar is None else self._x / self._alpha_bar**0.5

    def enter(self, rows: Tensor, images: Tensor | None = None) -> Tensor:
        """Rows as the host has them, in the techniques' space; ``images`` tells the image of each, else one per image."""
        if not self._convert:
            return rows
        rows = rows.float()
        if self._alpha_bar is None:
            return rows
        return eps_to_denoised(rows, self._x if images is None else self._x[images], self._alpha_bar)

    def leave(self, guided: Tensor, dtype: torch.dtype) -> Tensor:
        """The result in the host's space."""
        if self._alpha_bar is not None:
            guided = denoised_to_eps(guided, self._x, self._alpha_bar)
        return guided.to(dtype)
