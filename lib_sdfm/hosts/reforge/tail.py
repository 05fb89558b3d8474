"""Extra predictions on reForge that start where the main one reaches the first perturbed attention.

reForge calls the blocks of its UNet through a function, which calls each block's layers as modules: a hook on a block never
runs, one on its last layer does.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..forge.tail import ForgeTail
from ..tail import Features, features_at_tail


class ReforgeTail(ForgeTail):
    """The tail on reForge."""

    def _reach(self, args: tuple, kwargs: dict[str, Any]) -> Features | Tensor:
        """Return the features, with what the blocks of the tail are called with besides, as on Forge."""
        seen: list[Tensor] = []

        def see_time(module: nn.Module, given: tuple) -> None:
            seen.append(given[1])

        handle = _first_with_time(self._unet).register_forward_pre_hook(see_time)
        try:
            reached = features_at_tail(self._unet, self._start, self._own, args, kwargs, end_of=_last_layer)
        finally:
            handle.remove()
        if isinstance(reached, Features):
            reached.rest = seen[0], kwargs["context"], kwargs["transformer_options"]
        return reached

    def _marks(self, given: dict[str, Any], own: int, rows: int) -> dict[str, Any]:
        return {}


def _last_layer(block: nn.Sequential) -> nn.Module:
    return block[-1]


def _first_with_time(unet: nn.Module) -> nn.Module:
    """Return the first layer of a UNet that is given the embedding of the time."""
    return next(layer for block in unet.input_blocks for layer in block if hasattr(layer, "emb_layers"))
