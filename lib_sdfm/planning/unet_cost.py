"""Operations of a UNet, from the shipped table of counted ones (``python -m bench.speed.cost_table --write``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..sampling.layers import TransformerLayer, layers_among
from ..sampling.stages import Perturbation

SD15, SDXL = "SD1.5", "SDXL"
WHOLE, MIDDLE, NAG = "input", "middle", "nag"


@dataclass(frozen=True)
class UnetCost:
    """Counted operations of one class of models.

    :param pixels: the counted sizes, in pixels of the latent
    :param blocks: number of transformer blocks of the UNet's blocks that have any, in the order in which they run
    :param operations: operations of one row at each size, by the place from which it is computed, and those that NAG adds
    """

    pixels: Sequence[int]
    blocks: Mapping[str, int]
    operations: Mapping[str, Sequence[int]]

    def of(self, place: str, pixels: int) -> float:
        """Return the operations of one row from a place of the UNet to its end: the polynomial through the counted sizes."""
        total = 0.0
        for at, value in zip(self.pixels, self.operations[place]):
            others = [other for other in self.pixels if other != at]
            share = 1.0
            for other in others:
                share *= (pixels - other) / (at - other)
            total += share * value
        return total

    def extra_rows(self, changes: Iterable[Perturbation], edits_skips: bool, pixels: int) -> float:
        """Return the operations of the perturbed predictions of one row, as the hosts' ``Tail`` computes them.

        All predictions that leave the encoder as it is branch off at the first layer that any of them changes. The others are
        predicted from the start.

        :param edits_skips: true if decoder features are edited; then the decoder runs from its start
        :raises UnsupportedError: if a layer is named that these models don't have
        """
        places = [self._place(change) for change in changes]
        shared = [place for place in places if place is not None]
        whole = (len(places) - len(shared)) * self.of(WHOLE, pixels)
        first = MIDDLE if edits_skips else min(shared, key=list(self.operations).index, default=MIDDLE)
        return whole + len(shared) * self.of(first, pixels)

    def _place(self, change: Perturbation) -> str | None:
        """Return where a perturbed prediction branches off; ``None`` if it shares nothing."""
        layers = layers_among(self._layers(), change.layers)
        if change.tokens is not None or any(layer.section == WHOLE for layer in layers):
            return None
        return layers[0].name.rpartition(".")[0]

    def _layers(self) -> list[TransformerLayer]:
        found = []
        for block, depth in self.blocks.items():
            section, _, number = block.partition(".")
            found += [TransformerLayer(section, int(number or 0), index, None, None) for index in range(depth)]
        return found


@cache
def unet_cost(sdxl: bool) -> UnetCost:
    """Return the table of the class that a checkpoint belongs to."""
    table = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf8"))
    return UnetCost(**table[SDXL if sdxl else SD15])
