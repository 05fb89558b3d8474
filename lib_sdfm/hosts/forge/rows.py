"""The rows of a call of Forge's UNet, told by Forge's transformer options.

The host marks the rows that it predicts. MultiDiffusion calls the UNet with several tiles of a latent at once: the same
rows, one tile after the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ..attention import other_rows

COND, UNCOND = 0, 1
"""Forge's marks of conditional and unconditional rows in ``cond_or_uncond``."""
ATTENDING = "PAG, SEG, TPG and NAG"
"""Techniques that have to tell rows apart in attention."""
_REPEATED = WeakIdKeyDictionary()
"""Encoded prompts that were found to be repeated, with the rows that are: all layers of a call are given the same tensor, and
to compare it waits for the device."""


def kinds_of_parts(options: dict[str, Any]) -> list[int]:
    """Return the kind of each equal part of the rows of a call: conditional or unconditional.

    :param options: transformer options of the call
    :raises UnsupportedError: if its rows are no multiple of those that the host predicts
    """
    called, rows = _predicted(options), options["original_shape"][0]
    repeats, left = divmod(rows, called)
    if left or not repeats:
        raise other_rows(ATTENDING, rows, called)
    return options["cond_or_uncond"] * repeats


def images_of_rows(rows: int, options: dict[str, Any]) -> list[int | None]:
    """Return the image of each row in a layer, ``None`` for unconditional ones.

    :param options: transformer options of the call
    :raises UnsupportedError: if the layer has other rows than the UNet
    """
    kinds = kinds_of_parts(options)
    if rows != options["original_shape"][0]:
        raise other_rows(ATTENDING, rows, options["original_shape"][0])
    images = range(rows // len(kinds))
    return [None if kind == UNCOND else image for kind in kinds for image in images]


def require_repeated(context: Tensor | None, options: dict[str, Any]) -> None:
    """Raise :class:`UnsupportedError` if a call with more rows than the host predicts isn't one tile after another.

    :param context: encoded prompt of each row
    """
    called = _predicted(options)
    if context is None or len(context) <= called or _REPEATED.get(context) == called:
        return
    if not torch.equal(context[called:], context[:-called]):
        raise other_rows(ATTENDING, len(context), called)
    _REPEATED[context] = called


def values_of(context: Tensor, value: Tensor | None) -> Tensor | None:
    """Return what the last patch of cross-attention hands on as values: ``None`` where they are made of the context.

    Without any patch the host gives ``None``, and a replaced cross-attention may make keys and values of a longer context.
    """
    return None if value is context else value


def _predicted(options: dict[str, Any]) -> int:
    """Return the number of rows that the host predicts in a call; ``sigmas`` has one entry per image."""
    return len(options["sigmas"]) * len(options["cond_or_uncond"])
