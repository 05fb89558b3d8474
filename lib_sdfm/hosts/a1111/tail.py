"""Extra predictions on AUTOMATIC1111 that start where the main one reaches the first perturbed attention."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ...sampling.stages import Perturbation
from ..run import Together
from ..tail import Features, Tail, chosen_rows, in_the_tail, tail_start
from ..unet_layers import UnetLayers, is_plain
from .attention import PerturbedAttention

HOST_FORWARD = ("modules.sd_unet",)
"""Module of A1111's own replacement of the UNet classes' forward."""
HOST_CAT = "modules.sd_hijack_unet"
"""Module of A1111's ``th.cat`` for the UNet's module, which crops features to the skips' size."""

Cat = Callable[..., Tensor]


class A1111Tail(Tail):
    """The tail on A1111, whose main prediction has the conditional rows first.

    :param changes: the changes in each prediction, by the technique's name
    :param cat: joins features and skips in the UNet
    :param cond_rows: number of conditional rows, the first of the main prediction
    :param together: decides if all rows run together
    """

    def __init__(
        self, unet: UnetLayers, changes: dict[str, Perturbation], start: int, cat: Cat, cond_rows: int, together: Together
    ) -> None:
        super().__init__(unet, changes, start, together)
        self._cat, self._cond_rows = cat, cond_rows
        self._hooks = [
            PerturbedAttention(unet, change, functools.partial(self._perturbed_part, place))
            for place, change in enumerate(changes.values())
        ]

    def possible(self, rows: list[int]) -> bool:
        """Return True if the main prediction went through the UNet as expected, call by call.

        :param rows: rows of each model call of the main prediction
        """
        return is_plain(self._unet, HOST_FORWARD) and self._outputs.rows == rows

    def _answer(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._outputs.take()

    def _cond_parts(self, rows: int, kwargs: dict[str, Any]) -> list[slice]:
        take = min(rows, self._cond_rows - sum(self._outputs.rows))
        return [slice(0, take)] if take > 0 else []

    def _run(self, features: Features, own: int, parts: list[slice]) -> Tensor:
        def cut(value: Any) -> Any:
            return chosen_rows(value, parts, features.rows)

        perturbed = len(parts) > 1 or not own
        skips = features.skips_from(self._start, last=not perturbed)
        with ExitStack() as attached:
            for hooks in self._hooks if perturbed else ():
                attached.enter_context(hooks)
            h, rest = cut(features.h), cut(features.rest)
            if self._start == 0:
                h = self._unet.middle_block(h, *rest)
            for block in self._unet.output_blocks[max(self._start - 1, 0) :]:
                h = self._cat([h, cut(skips.pop())], dim=1)  # the block's input is all that is left while it runs
                h = block(h, *rest)
            return self._unet.out(h.type(features.dtype))


def a1111_tail(
    unet: UnetLayers, changes: dict[str, Perturbation], edits_skips: bool, cond_rows: int, together: Together
) -> A1111Tail | None:
    """Return a tail for the changes that leave the encoder as it is, ``None`` if there are none or its forward is replaced.

    :param edits_skips: true if a technique edits decoder features
    :param cond_rows: number of conditional rows
    :param together: decides if all rows run together
    """
    changes = in_the_tail(unet, changes)
    start = tail_start(unet, list(changes.values()), edits_skips)
    cat = _cat_of(unet.unet)
    if start is None or cat is None or not is_plain(unet.unet, HOST_FORWARD):
        return None
    return A1111Tail(unet, changes, start, cat, cond_rows, together)


def _cat_of(unet: nn.Module) -> Cat | None:
    """Return the ``cat`` of the UNet's module if it is torch's or A1111's own (the old FreeU, for example, replaces it)."""
    cat = getattr(getattr(sys.modules[type(unet).__module__], "th", torch), "cat", None)
    return cat if cat is torch.cat or getattr(cat, "__module__", None) == HOST_CAT else None
