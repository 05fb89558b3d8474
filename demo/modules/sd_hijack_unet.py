"""The function with which the UNet joins features, so that all sizes work: under A1111's name, by which extensions find it."""

from __future__ import annotations

import torch
from torch import Tensor


class TorchThatFits:
    """Torch, whose ``cat`` gives backbone features the size of the skip."""

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)

    def cat(self, tensors: list[Tensor], dim: int = 0) -> Tensor:
        """Joins; of two the first takes the other's height and width."""
        if len(tensors) == 2:
            h, skip = tensors
            if h.shape[-2:] != skip.shape[-2:]:
                tensors = [torch.nn.functional.interpolate(h, skip.shape[-2:], mode="nearest"), skip]
        return torch.cat(tensors, dim=dim)


th = TorchThatFits()
