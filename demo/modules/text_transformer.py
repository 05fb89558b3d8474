"""The trained text encoder of the shapes models: a small transformer over a closed list of words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

PAD, BEGIN, END, UNKNOWN = range(4)
LENGTH = 77
"""Tokens of a chunk: begin, up to 75 words, end, and padding."""


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.ff(self.norm2(x))


class TextTransformer(nn.Module):
    """Numbers of words to conds.

    :param words: the vocabulary; all other words are one unknown word
    :param width: of a token's vector
    """

    def __init__(self, words: Sequence[str], width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.config = {"words": list(words), "width": width, "heads": heads, "layers": layers}
        self.numbers = {word: i for i, word in enumerate(words, start=UNKNOWN + 1)}
        self.token_embedding = nn.Embedding(len(words) + UNKNOWN + 1, width)
        self.position_embedding = nn.Embedding(LENGTH, width)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.final_layer_norm = nn.LayerNorm(width)
        nn.init.normal_(self.position_embedding.weight, std=0.3)
        nn.init.constant_(self.final_layer_norm.bias, 0.2)  # emphasis "Original" divides by the mean of all

    def number(self, words: Sequence[str]) -> list[int]:
        """Token numbers of one chunk, begin and end included, without padding."""
        return [BEGIN, *(self.numbers.get(word, UNKNOWN) for word in words), END]

    def forward(self, numbers: Tensor, leave_out: int = 0) -> Tensor:
        """``(B, N)`` token numbers, N up to 77, to ``(B, 77, width)``.

        :param leave_out: how many of the last layers are passed over ("Clip skip" 2 means 1)
        """
        real = numbers != PAD
        x = self.token_embedding(numbers) + self.position_embedding.weight[: numbers.shape[1]]
        for layer in self.layers[: max(len(self.layers) - leave_out, 1)]:
            x = layer(x, real[:, None, None, :])
        x = self.final_layer_norm(x)
        # as in CLIP padding knows the whole text: here it is what the end token has become
        end = x[torch.arange(len(x)), real.sum(1) - 1][:, None]
        x = torch.where(real[:, :, None], x, end)
        return torch.cat([x, end.expand(-1, LENGTH - numbers.shape[1], -1)], 1)
