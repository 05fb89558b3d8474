"""Conversion between Forge's prediction space, always x0 of a noisy latent, and that of the techniques."""

from __future__ import annotations

from torch import Tensor

from ...errors import UnsupportedError
from ...ops.flow import LATEST_TIME, flow_to_exploding
from ...ops.spaces import denoised_to_noise, noise_to_denoised

PICTURE, VIDEO = 4, 5
"""Dimensions of a latent; one of a video model has its frames in the third."""


class ForgeSpace:
    """The techniques' prediction space: x0 in float32, or noise.

    :param x: the noisy latent: ``x0 + sigma * noise``, ``(B, C, H, W)``; with one frame in a third dimension for video models
    :param sigma: its noise levels, ``(B,)``
    :param in_eps: true for noise, false for x0
    :param in_time: true for a flow model that Forge knows by itself: ``x`` is ``(1 - t) * x0 + t * noise`` and ``sigma`` is t
    :raises UnsupportedError: if the latent has several frames
    """

    def __init__(self, x: Tensor, sigma: Tensor, in_eps: bool, in_time: bool = False) -> None:
        if x.ndim not in (PICTURE, VIDEO) or (x.ndim == VIDEO and x.shape[2] != 1):
            raise UnsupportedError("this model makes several frames at once, and SDFM guides only single pictures. Turn it off")
        self._shape, self._in_eps, self._in_time = x.shape, in_eps, in_time
        self._x, self._sigma = self._flat(x), sigma.float().view(-1, 1, 1, 1)

    @property
    def noisy(self) -> Tensor:
        """The latent as ``x0 + sigma * noise``, float32, ``(B, C, H, W)``."""
        return flow_to_exploding(self._x, self._sigma.clamp(max=LATEST_TIME)) if self._in_time else self._x

    def enter(self, denoised: Tensor) -> Tensor:
        """Convert Forge's x0 to the techniques' space."""
        denoised = self._flat(denoised)
        return denoised_to_noise(denoised, self._x, self._sigma) if self._in_eps else denoised

    def leave(self, guided: Tensor) -> Tensor:
        """Convert the result to x0."""
        return (noise_to_denoised(guided, self._x, self._sigma) if self._in_eps else guided).reshape(self._shape)

    def _flat(self, x: Tensor) -> Tensor:
        return x.float().squeeze(2) if x.ndim == VIDEO else x.float()
