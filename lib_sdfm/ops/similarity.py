"""Similarity of predictions."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity

from .precision import at_least_float32, outside_autocast


def similarity_per_image(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of the angle between two predictions of each image, ``(B,)``; 0 where one of them is 0.

    :param first: ``(B, C, H, W)``
    :param second: the same shape
    """
    with outside_autocast(first):
        return cosine_similarity(at_least_float32(first).flatten(1), at_least_float32(second).flatten(1))
