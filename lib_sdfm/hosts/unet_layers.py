"""Lookup of a UNet's transformer blocks, done once."""

from __future__ import annotations

from torch import nn

from ..errors import UnsupportedError
from ..sampling.layers import LayerRange, TransformerLayer, select_layers


class UnetLayers:
    """The blocks of a diffusion model that techniques need.

    :param unet: the diffusion model
    """

    def __init__(self, unet: nn.Module) -> None:
        self.unet = unet
        self._known: dict[tuple[LayerRange, ...], list[TransformerLayer]] = {}

    def select(self, ranges: tuple[LayerRange, ...]) -> list[TransformerLayer]:
        """Return the transformer blocks named by the ranges.

        :raises UnsupportedError: if the model has no such blocks
        """
        if ranges not in self._known:
            self.require_unet("perturbed attention")
            self._known[ranges] = select_layers(self.unet, ranges)
        return self._known[ranges]

    def require_unet(self, what: str) -> None:
        """Raise :class:`UnsupportedError` if the blocks of a model can't be reached (Flux, SD3)."""
        if not hasattr(self.unet, "output_blocks"):
            raise UnsupportedError(f"{type(self.unet).__name__} is no Stable Diffusion UNet: {what} has no place in it")
