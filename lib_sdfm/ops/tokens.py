"""Permutations of tokens for TPG, arXiv 2506.10036."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def token_order(tokens: int, seed: int, step: int, block: str) -> Tensor:
    """Return a permutation of token indices, ``(tokens,)`` int64 on the CPU, the same on every machine.

    :param tokens: number of tokens
    :param seed: of the image
    :param step: the sampler's step
    :param block: name of the transformer block
    """
    said = f"{seed} {step} {block}".encode()
    number = int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little") >> 1
    return torch.randperm(tokens, generator=torch.Generator().manual_seed(number))


def permute_tokens(tokens: Tensor, orders: Tensor) -> Tensor:
    """Return each row's tokens in another order: ``new[n] = old[order[n]]``.

    :param tokens: ``(rows, tokens, channels)``
    :param orders: ``(rows, tokens)`` int64
    """
    return tokens.gather(1, orders.unsqueeze(-1).expand_as(tokens))
