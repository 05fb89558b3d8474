"""The latent coding of the shapes models: pictures to four channels at an eighth of the size, and back.

Encoding is fixed: mean colour and contrast of each square of 8 by 8 pixels, rotated and scaled so that the channels have mean 0
and deviation 1 and don't correlate. Decoding is trained: it knows what shapes look like.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FACTOR, LATENT = 8, 4


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.silu(self.first(functional.silu(x))))


def squares_of(pictures: Tensor) -> Tensor:
    """Mean colour and contrast of each square: ``(B, 3, 8H, 8W)`` to ``(B, 4, H, W)``."""
    means = functional.avg_pool2d(pictures, FACTOR)
    spread = functional.avg_pool2d(pictures**2, FACTOR) - means**2
    return torch.cat([means, spread.mean(1, keepdim=True).clamp(min=0).sqrt()], 1)


class LatentCoding(nn.Module):
    """Pictures in [-1, 1] to latents, and back.

    :param width: of the decoder's layers, which all work at an eighth of the size
    """

    dtype = torch.float32

    def __init__(self, width: int = 80, blocks: int = 3) -> None:
        super().__init__()
        self.config = {"width": width, "blocks": blocks}
        self.decoder = nn.Sequential(
            nn.Conv2d(LATENT, width, 3, padding=1),
            *(_Residual(width) for _ in range(blocks)),
            nn.SiLU(),
            nn.Conv2d(width, 3 * FACTOR**2, 3, padding=1),
            nn.PixelShuffle(FACTOR),
        )
        self.register_buffer("mean", torch.zeros(LATENT))
        self.register_buffer("matrix", torch.eye(LATENT))

    @torch.no_grad()
    def measure(self, pictures: Tensor) -> None:
        """Fits the encoder's mean and matrix to typical pictures."""
        rows = squares_of(pictures).transpose(0, 1).flatten(1).double()
        values, vectors = torch.linalg.eigh(torch.cov(rows))
        self.mean.copy_(rows.mean(1).half())  # as a half-precision checkpoint will have it
        self.matrix.copy_(((vectors * values.rsqrt()) @ vectors.T).half())

    def encode(self, pictures: Tensor) -> Tensor:
        """``(B, 3, 8H, 8W)`` to ``(B, 4, H, W)``."""
        return torch.einsum("cr,brhw->bchw", self.matrix, squares_of(pictures.float()) - self.mean[:, None, None])

    def decode(self, latents: Tensor) -> Tensor:
        """``(B, 4, H, W)`` to ``(B, 3, 8H, 8W)``."""
        return self.decoder(latents.float()).clamp(-1, 1)
