"""Syntax for transformer blocks of a UNet: ``middle``, ``input.8``, ``output.3.2-5``, ``d2.2-9``.

Comma-separated. ``input.B``, ``middle`` and ``output.B`` name the UNet's own blocks; an optional ``.T`` or ``.T-T`` picks
transformer blocks (all of them without it). ``d``, ``m``, ``u`` count only blocks with attention, from 0, as in
pamparamm's extension (``d2`` is the third such input block). ``deep`` is the end of the encoder: of its last two blocks with
attention the last 18 transformer blocks, which are those of TPG's paper (arXiv 2506.10036) in SDXL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ..errors import UnsupportedError

NAMED = re.compile(r"(?:(input|output)\.(\d+)|(middle))(?:\.(\d+)(?:-(\d+))?)?")
COUNTED = re.compile(r"([dmu])(\d+)(?:-(\d+))?(?:\.(\d+)(?:-(\d+))?)?")
DEEP = "deep"
DEEP_BLOCKS, DEEP_TRANSFORMERS = 2, 18
SECTIONS = {"d": "input", "m": "middle", "u": "output"}


@dataclass(frozen=True)
class LayerRange:
    """A range of transformer blocks in one section.

    :param section: ``input``, ``middle``, ``output``, or ``deep``
    :param first: first block, ``None`` for the middle block and ``deep``
    :param last: last block, inclusive
    :param transformers: first and last transformer block, ``None`` for all
    :param counted: true if only blocks with attention are counted
    """

    section: str
    first: int | None
    last: int | None
    transformers: tuple[int, int] | None
    counted: bool


@dataclass(frozen=True)
class TransformerLayer:
    """One transformer block of a UNet.

    :param section: ``input``, ``middle`` or ``output``
    :param block: index of the UNet's block
    :param index: index of the transformer block in it
    :param module: the transformer block; ``None`` if only its place is known
    :param spatial: the module around it, which gets the feature map ``(rows, C, H, W)``; likewise
    """

    section: str
    block: int
    index: int
    module: nn.Module | None
    spatial: nn.Module | None

    @property
    def name(self) -> str:
        where = self.section if self.section == "middle" else f"{self.section}.{self.block}"
        return f"{where}.{self.index}"


def parse_layers(text: str) -> tuple[LayerRange, ...]:
    """Parse the ranges in a text.

    :raises ValueError: if the syntax is wrong; the message says what is allowed
    """
    parts = [part.strip() for part in text.split(",")]
    return tuple(_parse_part(part) for part in parts)


def _parse_part(part: str) -> LayerRange:
    if part == DEEP:
        return LayerRange(DEEP, None, None, None, counted=True)
    if match := NAMED.fullmatch(part):
        section, block, middle, first, last = match.groups()
        number = None if middle else int(block)
        return LayerRange(section or "middle", number, number, _span(first, last), counted=False)
    if match := COUNTED.fullmatch(part):
        letter, first, last, first_inner, last_inner = match.groups()
        blocks = _span(first, last)
        return LayerRange(SECTIONS[letter], *blocks, _span(first_inner, last_inner), counted=True)
    raise ValueError(
        "a comma-separated list of input.B, middle, output.B, each with an optional .T or .T-T, d2.2-9, m0, u0.4, or deep"
    )


def _span(first: str | None, last: str | None) -> tuple[int, int] | None:
    if first is None:
        return None
    span = (int(first), int(last if last is not None else first))
    if span[1] < span[0]:
        raise ValueError(f"a range that ascends (not {first}-{last})")
    return span


def transformer_layers(unet: nn.Module) -> list[TransformerLayer]:
    """Return all transformer blocks of an LDM or SGM UNet, in the order in which they run."""
    return list(_walk(unet))


def _walk(unet: nn.Module) -> Iterator[TransformerLayer]:
    sections = (("input", unet.input_blocks), ("middle", [unet.middle_block]), ("output", unet.output_blocks))
    for section, blocks in sections:
        for number, block in enumerate(blocks):
            index = 0
            for module in block.modules():
                for transformer in getattr(module, "transformer_blocks", ()):
                    yield TransformerLayer(section, number, index, transformer, module)
                    index += 1


def select_layers(unet: nn.Module, ranges: tuple[LayerRange, ...]) -> list[TransformerLayer]:
    """Return the transformer blocks of ``unet`` named by the ranges, each once, in the order in which they run.

    :raises UnsupportedError: if a range names a block that this UNet doesn't have
    """
    return layers_among(transformer_layers(unet), ranges)


def layers_among(layers: list[TransformerLayer], ranges: tuple[LayerRange, ...]) -> list[TransformerLayer]:
    """Return those of a UNet's transformer blocks that the ranges name, each once, in the order in which they run.

    :raises UnsupportedError: if a range names a block that this UNet doesn't have
    """
    chosen: list[TransformerLayer] = []
    for wanted in ranges:
        chosen += _matching(layers, wanted)
    return [layer for layer in layers if layer in chosen]


def _deep(layers: list[TransformerLayer]) -> list[TransformerLayer]:
    encoder = [layer for layer in layers if layer.section == "input"]
    blocks = sorted({layer.block for layer in encoder})[-DEEP_BLOCKS:]
    if not blocks:
        raise UnsupportedError("Layers: the encoder of this model has no attention")
    return [layer for layer in encoder if layer.block in blocks][-DEEP_TRANSFORMERS:]


def _matching(layers: list[TransformerLayer], wanted: LayerRange) -> list[TransformerLayer]:
    if wanted.section == DEEP:
        return _deep(layers)
    here = [layer for layer in layers if layer.section == wanted.section]
    numbers = sorted({layer.block for layer in here})
    label = {number: place for place, number in enumerate(numbers)} if wanted.counted else {n: n for n in numbers}
    blocks = range(wanted.first or 0, (wanted.last or 0) + 1)
    found = [layer for layer in here if label[layer.block] in blocks]
    missing = set(blocks) - {label[layer.block] for layer in found}
    if missing:
        known = ", ".join(str(label[number]) for number in numbers) or "none"
        what = f"{wanted.section} block {min(missing)}"
        raise UnsupportedError(f"Layers: this model has no attention in {what}, only in {known}")
    if wanted.transformers is None:
        return found
    first, last = wanted.transformers
    for number in {layer.block for layer in found}:
        depth = sum(layer.block == number for layer in found)
        if last >= depth:
            raise UnsupportedError(
                f"Layers: {wanted.section} block {number} of this model has transformer blocks 0 to {depth - 1}, not {last}"
            )
    return [layer for layer in found if first <= layer.index <= last]
