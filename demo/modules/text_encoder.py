"""Text encoders: prompts to conds, as the WebUI's, with emphasis, "Clip skip", and more chunks of 77 for long prompts.

One is trained with its checkpoint. The other knows nothing: words become vectors by their hash, a few fixed layers mix them;
but different prompts differ, and word order counts.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modules import prompt_parser, shared
from modules.text_transformer import TextTransformer

CHUNK = 75
WORDS = re.compile(r"\w+|[^\w\s]")
LAYERS = 3


def _vector(word: str, width: int) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(zlib.crc32(word.encode())))


class TextEncoder(nn.Module):
    """Prompts to conds; how words become vectors is up to subclasses."""

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
        """One chunk, ``(77, width)``."""
        z = self._vectors(words)
        factors = torch.ones(CHUNK + 2)
        factors[1 : len(weights) + 1] = torch.tensor(weights)
        return self._emphasised(z, factors)

    def _emphasised(self, z: Tensor, factors: Tensor) -> Tensor:
        """Weights the tokens; "Original" keeps the mean as it was."""
        weighted = z * factors[:, None]
        return weighted * (z.mean() / weighted.mean()) if shared.opts.emphasis == "Original" else weighted

    def _vectors(self, words: list[str]) -> Tensor:
        """Words of one chunk to ``(77, width)``, without emphasis."""
        raise NotImplementedError


class TrainedTextEncoder(TextEncoder):
    """With the checkpoint's own transformer.

    :param config: the transformer's arguments
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.transformer = TextTransformer(**config)

    def _vectors(self, words: list[str]) -> Tensor:
        numbers = torch.tensor([self.transformer.number(words)])
        return self.transformer(numbers, leave_out=max(shared.opts.CLIP_stop_at_last_layers - 1, 0))[0]


class HashedTextEncoder(TextEncoder):
    """Without knowledge.

    :param width: of one token's vector
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self._words: dict[str, Tensor] = {}
        mixers = [_vector(f"\0layer {i}", width * width).view(width, width) for i in range(LAYERS)]
        self._mixers = [torch.linalg.qr(mixer).Q for mixer in mixers]
        self._places = torch.stack([_vector(f"\0place {i}", width) for i in range(CHUNK + 2)]) * 0.3

    def _vectors(self, words: list[str]) -> Tensor:
        words = ["\0begin", *words] + ["\0end"] * (CHUNK + 1 - len(words))
        z = torch.stack([self._word(word) for word in words]) + self._places
        running = torch.cumsum(z, 0) / torch.arange(1, len(z) + 1)[:, None].sqrt()
        for mixer in self._mixers[: max(LAYERS + 1 - shared.opts.CLIP_stop_at_last_layers, 1)]:
            z = z + torch.tanh(running @ mixer)
        return z / z.std(dim=-1, keepdim=True)

    def _word(self, word: str) -> Tensor:
        if word not in self._words:
            self._words[word] = _vector(word, self.width)
        return self._words[word]
