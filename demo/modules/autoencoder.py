"""The fixed latent decoder: four channels, one eighth of the size.

Linear but for the soft limit of the colours, so that a picture that is encoded and decoded comes back, blurred.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FACTOR = 8
CONTRAST = 0.6
TO_RGB = torch.tensor([[0.50, 0.38, 0.05, 0.20], [0.50, -0.16, 0.26, 0.20], [0.50, -0.30, -0.34, 0.20]])
"""Rows red, green, blue; columns are the latent's channels: brightness, warm to cold, green to violet, brightness again."""


class LatentDecoder(nn.Module):
    """Pictures in [-1, 1] from latents of unit size, and back."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("matrix", TO_RGB, persistent=False)
        self.register_buffer("inverse", torch.linalg.pinv(self.matrix), persistent=False)

    def decode(self, latents: Tensor) -> Tensor:
        """``(B, 4, H, W)`` to ``(B, 3, 8H, 8W)``."""
        pixels = torch.einsum("rc,bchw->brhw", self.matrix, latents.float())
        pixels = torch.nn.functional.interpolate(pixels, scale_factor=FACTOR, mode="bicubic", align_corners=False)
        return torch.tanh(pixels * CONTRAST)

    def encode(self, pictures: Tensor) -> Tensor:
        """``(B, 3, 8H, 8W)`` to ``(B, 4, H, W)``."""
        pixels = torch.atanh(pictures.float().clamp(-0.999, 0.999)) / CONTRAST
        pixels = torch.nn.functional.avg_pool2d(pixels, FACTOR)
        return torch.einsum("cr,brhw->bchw", self.inverse, pixels)
