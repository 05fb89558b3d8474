"""Conversion between Forge's prediction space, always x0 of a latent ``x0 + sigma * noise``, and that of the techniques."""

from __future__ import annotations

from torch import Tensor

from ...ops.spaces import denoised_to_noise, noise_to_denoised


class ForgeSpace:
    """The techniques' prediction space: x0 in float32, or noise.

    :param x: the noisy latent, ``(B, C, H, W)``
    :param sigma: its noise levels, ``(B,)``
    :param in_eps: true for noise, false for x0
    """

    def __init__(self, x: Tensor, sigma: Tensor, in_eps: bool) -> None:
        self._x, self._sigma, self._in_eps = x.float(), sigma.float().view(-1, 1, 1, 1), in_eps

    def enter(self, denoised: Tensor) -> Tensor:
        """Convert Forge's x0 to the techniques' space."""
        denoised = denoised.float()
        return denoised_to_noise(denoised, self._x, self._sigma) if self._in_eps else denoised

    def leave(self, guided: Tensor) -> Tensor:
        """Convert the result to x0."""
        return noise_to_denoised(guided, self._x, self._sigma) if self._in_eps else guided
