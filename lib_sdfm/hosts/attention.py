"""Perturbed self-attention, parts shared by both hosts: rows, values, and errors for layers that never ran."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import UnsupportedError
from ..sampling.layers import TransformerLayer


def other_rows(label: str, rows: int, called: int) -> UnsupportedError:
    """Return the error for techniques whose rows can't be told, as attention sees others than the model was called with.

    :param label: their names
    """
    return UnsupportedError(
        f"{label}: attention sees {rows} rows where the model was called with {called}: another extension splits or repeats "
        f"them. Turn off that extension or {label}"
    )


def with_rows(tensor: Tensor, chosen: slice, rows: Tensor) -> Tensor:
    """Return ``tensor`` with the rows ``chosen`` replaced by ``rows``."""
    if rows.shape[0] == tensor.shape[0]:
        return rows
    first, last, _ = chosen.indices(tensor.shape[0])
    return torch.cat([tensor[:first], rows, tensor[last:]]) if last > first else tensor


def values_like(values: Tensor, wanted: Tensor, name: str) -> Tensor:
    """Return the attention values, one per query (ControlNet's reference mode appends keys and values of another picture).

    :param values: ``(rows, tokens, channels)``, or more tokens than wanted
    :param wanted: tensor of the required shape and type
    :param name: the layer, for the message
    :raises UnsupportedError: if there are fewer values than queries, or their shape differs
    """
    values = values[:, : wanted.shape[1]]
    if values.shape != wanted.shape:
        raise UnsupportedError(
            f"Attention of {name} has values of shape {tuple(values.shape)} where {tuple(wanted.shape)} is needed: another "
            "extension changes it, and it can't be perturbed as well"
        )
    return values.to(wanted.dtype)


RowImages = Callable[[int, dict[str, Any]], Sequence[int | None]]
"""Function from the number of rows of a block's call, and its keyword arguments, to the image of each row; ``None`` for
unconditional ones."""


class ChangedTokens:
    """Inputs of transformer blocks, changed in the conditional rows of a prediction while it is entered.

    Neither host has a place for that, so that it is done by hooks on the blocks.

    :param layers: the transformer blocks
    :param change: see :class:`Perturbation`
    :param images: gives the image of each row of a block's call
    """

    def __init__(
        self, layers: Sequence[TransformerLayer], change: Callable[[Tensor, Sequence[int], str], Tensor], images: RowImages
    ) -> None:
        self._layers, self._change, self._images = layers, change, images
        self._idle = {layer.name for layer in layers}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> ChangedTokens:
        for layer in self._layers:
            hook = functools.partial(self._change_input, layer.name)
            self._handles.append(layer.module.register_forward_pre_hook(hook, with_kwargs=True))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if error is None:
            require_layers_ran(layer.name for layer in self._layers if layer.name in self._idle)

    def _change_input(self, name: str, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        self._idle.discard(name)
        tokens, parts, first = args[0], [], 0
        for is_cond, run in groupby(self._images(len(tokens), kwargs), key=lambda image: image is not None):
            images = list(run)
            part = tokens[first : first + len(images)]
            first += len(images)
            parts.append(self._change(part, images, name) if is_cond else part)
        return (parts[0] if len(parts) == 1 else torch.cat(parts), *args[1:]), kwargs


def require_layers_ran(idle: Iterable[str]) -> None:
    """Raise :class:`UnsupportedError` if any layer that should have run did not.

    :param idle: names of the layers that did not
    """
    names = ", ".join(idle)
    if names:
        raise UnsupportedError(
            f"Attention of {names} did not run: another implementation replaces the UNet (TensorRT or a compiled one, for "
            "example), and its self-attention can't be perturbed. Turn off one of them"
        )


def decoder_did_not_run(label: str) -> UnsupportedError:
    """Return the error for a technique that edits decoder features of a UNet whose decoder never ran.

    :param label: the technique's name
    """
    return UnsupportedError(
        f"{label}: the UNet's decoder did not run: another implementation replaces the UNet (TensorRT or a compiled one, for "
        "example), and its features can't be changed. Turn off one of them"
    )
