"""Perturbed self-attention through Forge's transformer patches: no hook on any module.

A patch function gets ``extra_options`` with the block that it runs in, and the shape of the latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedError
from ..sampling.layers import select_layers
from ..sampling.stages import Perturbation
from .attention import require_layers_ran, values_like

Place = tuple[str, int, int]
"""Section, block and transformer block, as Forge numbers them (the middle block is 0)."""
UNCOND = 1
"""What Forge calls the uncond rows in ``cond_or_uncond``."""


def require_unet(unet: nn.Module, what: str) -> None:
    """Raises :class:`UnsupportedError` if a model is not of the kind whose blocks can be reached (Flux, SD3)."""
    if not hasattr(unet, "middle_block"):
        raise UnsupportedError(f"{type(unet).__name__} is no Stable Diffusion UNet: {what} has no place in it")


class AttentionPatches:
    """The chosen self-attention layers of a UNet, perturbed in the predictions that are made with the patches.

    :param unet: the diffusion model
    :param perturbation: what changes where
    :param uncond_only: queries change in the uncond rows alone
    :raises UnsupportedError: if the model has no such layers
    """

    def __init__(self, unet: nn.Module, perturbation: Perturbation, uncond_only: bool = False) -> None:
        require_unet(unet, "perturbed attention")
        layers = select_layers(unet, perturbation.layers)
        self._names: dict[Place, str] = {(layer.section, layer.block, layer.index): layer.name for layer in layers}
        self._perturbation, self._uncond_only = perturbation, uncond_only
        self._ran: set[Place] = set()
        self._values: dict[Place, Tensor] = {}

    def added_to(self, model_options: dict[str, Any]) -> dict[str, Any]:
        """Forge's options of a model call with the patches added; the given ones stay as they are."""
        change = self._perturbation
        transformer = dict(model_options.get("transformer_options", {}))
        patches = dict(transformer.get("patches", {}))
        replaced = dict(transformer.get("patches_replace", {}))
        if change.query is not None:
            patches["attn1_patch"] = [*patches.get("attn1_patch", ()), self.query_patch()]
        if change.identity:
            replaced["attn1"] = {**replaced.get("attn1", {}), **dict.fromkeys(self._names, self._value_patch())}
        if change.identity and not change.project:
            patches["attn1_output_patch"] = [*patches.get("attn1_output_patch", ()), self._output_patch()]
        return {**model_options, "transformer_options": {**transformer, "patches": patches, "patches_replace": replaced}}

    def require_ran(self) -> None:
        """Raises :class:`UnsupportedError` if a layer did not run since this was made."""
        require_layers_ran(name for place, name in self._names.items() if place not in self._ran)

    # plain functions: Forge copies its options deeply, and the object of a bound method with them

    def query_patch(self) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """An ``attn1_patch``. It sees what the queries are made of; the projection is linear, so a blur of either is one."""

        def patch(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
            place = _place(extra)
            if place in self._names:
                self._ran.add(place)
                n = self._changed_queries(n, extra, self._names[place])
            return n, context, value

        return patch

    def _changed_queries(self, n: Tensor, extra: dict[str, Any], name: str) -> Tensor:
        grid = token_grid(extra["original_shape"], n.shape[1], name)
        kinds = extra["cond_or_uncond"]
        parts = n.chunk(len(kinds))
        if self._uncond_only:
            return torch.cat([self._perturbation.query(p, grid) if k == UNCOND else p for p, k in zip(parts, kinds)])
        return self._perturbation.query(n, grid)

    def _value_patch(self) -> Callable[..., Tensor]:
        def patch(q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
            place = _place(extra)
            self._ran.add(place)
            values = values_like(v, q, self._names[place])
            if not self._perturbation.project:
                self._values[place] = values
            return values

        return patch

    def _output_patch(self) -> Callable[..., Tensor]:
        def patch(n: Tensor, extra: dict[str, Any]) -> Tensor:
            return self._values.pop(_place(extra), n)

        return patch


def _place(extra: dict[str, Any]) -> Place:
    return (*extra["block"], extra["block_index"])


def token_grid(shape: list[int], tokens: int, name: str) -> tuple[int, int]:
    """Height and width of a token map; each level of the UNet halves them, rounding up.

    :param shape: of the latent, ``(rows, C, H, W)``
    :param name: the layer, for the message
    :raises UnsupportedError: if no level has as many tokens
    """
    height, width = shape[-2:]
    while height * width > tokens and height * width > 1:
        height, width = (height + 1) // 2, (width + 1) // 2
    if height * width != tokens:
        raise UnsupportedError(
            f"Attention of {name} sees {tokens} tokens, of which a latent of {shape[-2]}x{shape[-1]} has no map: token "
            "merging or the like acts there. Switch it off, or choose other layers"
        )
    return height, width
