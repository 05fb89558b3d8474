"""Initial and step noise: one generator per picture, so that a batch gives the same pictures as single ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modules import shared


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(int(seed))


def slerp(fraction: float, low: Tensor, high: Tensor) -> Tensor:
    """Spherical interpolation along the channel axis, for variation seeds."""
    cosine = torch.nn.functional.cosine_similarity(low, high, dim=1).unsqueeze(1)
    if cosine.mean() > 0.9995:
        return torch.lerp(low, high, fraction)
    angle = torch.acos(cosine)
    return (torch.sin((1 - fraction) * angle) * low + torch.sin(fraction * angle) * high) / torch.sin(angle)


class ImageRNG:
    """The noise of one batch.

    :param shape: of one latent, ``(C, H, W)``
    """

    def __init__(
        self,
        shape: Sequence[int],
        seeds: Sequence[int],
        subseeds: Sequence[int] | None = None,
        subseed_strength: float = 0.0,
    ) -> None:
        self.shape = tuple(map(int, shape))
        self.seeds, self.subseeds, self.subseed_strength = seeds, subseeds, subseed_strength
        self.generators = [_generator(seed) for seed in seeds]
        self.is_first = True

    def next(self) -> Tensor:
        """The latents of the next draw, ``(B, C, H, W)``."""
        if self.is_first:
            self.is_first = False
            return self._first()
        return self._draw(self.generators)

    def _draw(self, generators: list[torch.Generator]) -> Tensor:
        return torch.stack([torch.randn(self.shape, generator=generator) for generator in generators])

    def _first(self) -> Tensor:
        noise = self._draw(self.generators)
        if self.subseeds is not None and self.subseed_strength:
            noise = slerp(self.subseed_strength, noise, self._draw([_generator(seed) for seed in self.subseeds]))
        if shared.opts.eta_noise_seed_delta:
            self.generators = [_generator(seed + shared.opts.eta_noise_seed_delta) for seed in self.seeds]
        return noise
