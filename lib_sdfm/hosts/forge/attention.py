"""Perturbed self-attention through Forge's transformer patches: no hook on any module.

A patch function gets ``extra_options`` with the block it runs in, and the shape of the latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...errors import UnsupportedError
from ...sampling.layers import TransformerLayer
from ...sampling.stages import Perturbation
from ..attention import require_layers_ran, values_like, with_rows
from ..unet_layers import UnetLayers
from .patched_unet import LAST
from .rows import UNCOND, kinds_of_parts, require_repeated, values_of

Place = tuple[str, int, int]
"""Section, block and transformer block, as Forge numbers them (the middle block is 0)."""
Chosen = Callable[[int, list[int]], list[slice]]
"""Function from the number of rows, and the kind of each equal part of them, to the rows that are perturbed."""


def every_row(rows: int, kinds: list[int]) -> list[slice]:
    """Return all rows."""
    return [slice(0, rows)]


def uncond_rows(rows: int, kinds: list[int]) -> list[slice]:
    """Return the rows of the negative prompt."""
    return _parts(rows, [kind == UNCOND for kind in kinds])


def cond_rows(rows: int, kinds: list[int]) -> list[slice]:
    """Return the rows of the prompts."""
    return _parts(rows, [kind != UNCOND for kind in kinds])


def _parts(rows: int, chosen: list[bool]) -> list[slice]:
    """Return the chosen ones of as many equal parts of the rows."""
    size = rows // len(chosen)
    return [slice(i * size, (i + 1) * size) for i, is_chosen in enumerate(chosen) if is_chosen]


class AttentionPatches:
    """Selected self-attention layers of a UNet, perturbed in predictions made with the patches.

    :param unet: the diffusion model
    :param perturbation: how attention changes, and in which layers
    :param chosen: the rows that are perturbed
    :raises UnsupportedError: if the model has no such layers
    """

    def __init__(self, unet: UnetLayers, perturbation: Perturbation, chosen: Chosen = every_row) -> None:
        layers = unet.select(perturbation.layers)
        self._layers: dict[Place, TransformerLayer] = {(layer.section, layer.block, layer.index): layer for layer in layers}
        self._perturbation, self._chosen = perturbation, chosen
        self._ran: set[Place] = set()
        self._values: dict[Place, list[tuple[slice, Tensor]]] = {}

    def added_to(self, transformer_options: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of Forge's transformer options with the patches added.

        Queries are changed first, while they still form a map: Forge's token merging is a patch too. In cross-attention we are
        the last, see :func:`values_of`.
        """
        patches = dict(transformer_options.get("patches", {}))
        for name, function in self.functions().items():
            others, first = patches.get(name, ()), self._perturbation.query is not None and name not in LAST
            patches[name] = [function, *others] if first else [*others, function]
        return {**transformer_options, "patches": patches}

    def require_ran(self) -> None:
        """Raise :class:`UnsupportedError` if a layer has not run since construction."""
        require_layers_ran(layer.name for place, layer in self._layers.items() if place not in self._ran)

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the patches by the name of their list in Forge's options.

        They are plain functions: Forge deep-copies its options, which would copy the object of a bound method too.
        """

        def before(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
            place = _place(extra)
            if place in self._layers:
                self._ran.add(place)
                n = self._perturbed(self._layers[place], place, n, value, extra)
            return n, context, value

        def after(n: Tensor, extra: dict[str, Any]) -> Tensor:
            place = _place(extra)
            for rows, value in self._values.pop(place, ()):
                n = with_rows(n, rows, self._output(self._layers[place], value, n[rows]))
            return n

        def see_prompts(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
            require_repeated(context, extra)
            return n, context, values_of(context, value)

        output = {"attn1_output_patch": after} if self._perturbation.identity else {}
        return {"attn1_patch": before, **output, "attn2_patch": see_prompts}

    def _perturbed(self, layer: TransformerLayer, place: Place, n: Tensor, value: Tensor, extra: dict[str, Any]) -> Tensor:
        """Perturb the input of the query projection: the projection is linear, so blurring its input blurs the queries."""
        change = self._perturbation
        for rows in self._chosen(n.shape[0], kinds_of_parts(extra)):
            if change.identity:
                self._values.setdefault(place, []).append((rows, value[rows]))
            if change.query is not None:
                grid = token_grid(extra["original_shape"], n.shape[1], layer.name)
                n = with_rows(n, rows, change.query(n[rows], grid))
        return n

    def _output(self, layer: TransformerLayer, value: Tensor, wanted: Tensor) -> Tensor:
        """Replace the output by the values, which is attention with the identity as attention map."""
        values = layer.module.attn1.to_v(values_like(value, wanted, layer.name))
        return layer.module.attn1.to_out(values) if self._perturbation.project else values


def _place(extra: dict[str, Any]) -> Place:
    return (*extra["block"], extra["block_index"])


def token_grid(shape: list[int], tokens: int, name: str) -> tuple[int, int]:
    """Return height and width of a token map; each level of the UNet halves them, rounding up.

    :param shape: shape of the latent, ``(rows, C, H, W)``
    :param name: the layer, for the message
    :raises UnsupportedError: if no level has this number of tokens
    """
    height, width = shape[-2:]
    while height * width > tokens and height * width > 1:
        height, width = (height + 1) // 2, (width + 1) // 2
    if height * width != tokens:
        raise UnsupportedError(
            f"Attention of {name} sees {tokens} tokens, of which a latent of {shape[-2]}x{shape[-1]} has no map: token "
            "merging or something similar acts there. Turn that off, or choose other layers"
        )
    return height, width
