"""A small text encoder: words become vectors by their hash, a few fixed layers mix them.

No knowledge is in it, but what matters to the WebUI is: different prompts differ, word order and emphasis count, "Clip
skip" leaves layers out, and prompts of more than 75 tokens give more chunks of 77.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modules import prompt_parser, shared

CHUNK = 75
WORDS = re.compile(r"\w+|[^\w\s]")
LAYERS = 3


def _vector(word: str, width: int) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


class TextEncoder(nn.Module):
    """Prompts to conds.

    :param width: of one token's vector
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self._words: dict[str, Tensor] = {}
        mixers = [_vector(f"\0layer {i}", width * width).view(width, width) for i in range(LAYERS)]
        self._mixers = [torch.linalg.qr(mixer).Q for mixer in mixers]
        self._places = torch.stack([_vector(f"\0place {i}", width) for i in range(CHUNK + 2)]) * 0.3

    def forward(self, texts: Sequence[str]) -> Tensor:
        """``(B, 77 * chunks, width)``; shorter texts of the batch get empty chunks."""
        chunks = [self._chunks(text) for text in texts]
        longest = max(map(len, chunks))
        rows = [torch.cat([self._encode(*chunk) for chunk in row + [([], [])] * (longest - len(row))]) for row in chunks]
        return torch.stack(rows)

    def _chunks(self, text: str) -> list[tuple[list[str], list[float]]]:
        """Words and weights of each chunk of 75; BREAK begins a new one."""
        chunks: list[tuple[list[str], list[float]]] = [([], [])]
        pieces = prompt_parser.parse_prompt_attention(text)
        if shared.opts.emphasis == "None":
            pieces = [[text, 1.0]]
        for piece, weight in pieces:
            if piece == "BREAK" and weight == -1:
                chunks.append(([], []))
                continue
            for word in WORDS.findall(piece.lower()):
                if len(chunks[-1][0]) == CHUNK:
                    chunks.append(([], []))
                chunks[-1][0].append(word)
                chunks[-1][1].append(weight)
        return chunks

    def _encode(self, words: list[str], weights: list[float]) -> Tensor:
        words = ["\0begin", *words] + ["\0end"] * (CHUNK + 1 - len(words))
        z = torch.stack([self._word(word) for word in words]) + self._places
        running = torch.cumsum(z, 0) / torch.arange(1, len(z) + 1)[:, None].sqrt()
        for mixer in self._mixers[: max(LAYERS + 1 - shared.opts.CLIP_stop_at_last_layers, 1)]:
            z = z + torch.tanh(running @ mixer)
        z = z / z.std(dim=-1, keepdim=True)
        factors = torch.ones(CHUNK + 2)
        factors[1 : len(weights) + 1] = torch.tensor(weights)
        return self._emphasised(z, factors)

    def _emphasised(self, z: Tensor, factors: Tensor) -> Tensor:
        """Weights the tokens; "Original" keeps the mean as it was."""
        weighted = z * factors[:, None]
        return weighted * (z.mean() / weighted.mean()) if shared.opts.emphasis == "Original" else weighted

    def _word(self, word: str) -> Tensor:
        if word not in self._words:
            self._words[word] = _vector(word, self.width)
        return self._words[word]
