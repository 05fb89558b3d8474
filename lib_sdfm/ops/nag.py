"""Normalized attention guidance, arXiv 2505.21179: attention to a prompt, moved away from attention to another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import at_least_float32, outside_autocast

FLOOR = 1e-6
"""Smallest norm of a token, as in the authors' code."""


def normalized_guidance(positive: Tensor, negative: Tensor, scale: float, tau: float, alpha: float) -> Tensor:
    """Return ``alpha * z * min(R, tau) / R + (1 - alpha) * z_pos``, in the type of ``positive``.

    ``z = z_pos + scale * (z_pos - z_neg)`` and ``R = |z| / |z_pos|``, with L1 norms of each token over its channels, computed
    in float32 where the type is narrower.

    :param positive: attention to the prompt, ``(rows, tokens, channels)``
    :param negative: attention of the same queries to the negative prompt
    :param scale: 0 gives ``positive``; the authors' code counts from 1
    :param tau: limit of R, 0 or more
    :param alpha: weight of the guided attention, 0 to 1
    """
    guided = torch.lerp(negative.to(positive.dtype), positive, 1.0 + scale)
    ratio = _norm(guided) / _norm(positive)
    weight = (alpha * ratio.clamp(max=tau) / ratio).to(positive.dtype)
    return torch.addcmul(positive * (1.0 - alpha), guided, weight)


def _norm(tokens: Tensor) -> Tensor:
    """Return the L1 norm over channels, ``(rows, tokens, 1)``, in float32 or wider."""
    wide = torch.promote_types(tokens.dtype, torch.float32)
    return torch.linalg.vector_norm(tokens, ord=1, dim=-1, keepdim=True, dtype=wide).clamp(min=FLOOR)


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, upcast: bool = False) -> Tensor:
    """Return ``softmax(q k / sqrt(d)) v`` of several heads, ``(rows, tokens, channels)``.

    :param query: ``(rows, tokens, channels)``
    :param key: ``(rows, others, channels)``
    :param value: like ``key``
    :param upcast: true to compute in float32, also inside autocast
    """
    dtype = query.dtype
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    if not upcast:
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    with outside_autocast(query):
        wide = F.scaled_dot_product_attention(*(at_least_float32(part) for part in (query, key, value)))
    return wide.transpose(1, 2).flatten(2).to(dtype)
