"""Conversion between the sampler's prediction space and that of the techniques."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...ops.spaces import denoised_to_eps, eps_to_denoised


def alpha_bar_of(denoiser: Any, level: Tensor) -> Tensor | None:
    """Return alpha_bar of a timestep, ``()``, or ``None`` if the denoiser works in sigmas (k-diffusion samplers).

    :param denoiser: A1111's CFG denoiser; only models of k-diffusion samplers have ``sigmas``
    :param level: the denoiser call's sigma or timestep
    """
    if hasattr(denoiser.inner_model, "sigmas"):
        return None
    # indexing with a single number would wait for it
    return denoiser.alphas.index_select(0, level.long().reshape(1).to(denoiser.alphas.device)).reshape(()).float()


class Space:
    """The techniques' prediction space: x0 in float32, or the sampler's own space.

    :param denoiser: A1111's CFG denoiser
    :param params: the host's callback parameters of this call; the last rows of its ``x`` are the latents, one per image
    :param images: number of images
    :param convert: convert to x0 in float32; if false, nothing is converted
    """

    def __init__(self, denoiser: Any, params: Any, images: int, convert: bool) -> None:
        self._convert = convert
        self._alpha_bar = alpha_bar_of(denoiser, params.sigma[-1]) if convert else None
        self._x = params.x[-images:].float() if convert else None

    @property
    def noisy(self) -> Tensor | None:
        """Return the latents in k-diffusion's form, ``x0 + sigma * noise``; ``None`` if nothing is converted."""
        return self._x if self._x is None or self._alpha_bar is None else self._x / self._alpha_bar**0.5

    def enter(self, rows: Tensor, images: Tensor | None = None) -> Tensor:
        """Convert the host's rows to the techniques' space; ``images`` gives the image of each row, else one row per image."""
        if not self._convert:
            return rows
        rows = rows.float()
        if self._alpha_bar is None:
            return rows
        return eps_to_denoised(rows, self._x if images is None else self._x[images], self._alpha_bar)

    def leave(self, guided: Tensor, dtype: torch.dtype) -> Tensor:
        """Convert the result to the host's space."""
        if self._alpha_bar is not None:
            guided = denoised_to_eps(guided, self._x, self._alpha_bar)
        return guided.to(dtype)
