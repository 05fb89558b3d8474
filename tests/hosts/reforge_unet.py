"""A UNet whose blocks are called through a function, as reForge calls them, around the weights of a real LDM UNet."""

from __future__ import annotations

from typing import Any

from ldm.modules.attention import SpatialTransformer
from torch import Tensor, nn

from tests.hosts.forge_unet import ForgeUnet, _spatial


class ReforgeUnet(ForgeUnet):
    """The same function as ``unet``, with Forge's transformer patches, and wrappers around the forward.

    :param unet: an LDM UNet; its layers are shared
    """

    in_channels = 4

    def block_of(self, block: nn.Sequential) -> nn.Module:
        return Block(*layers_of(block))

    def call_block(self, block: nn.Module, *args: Any) -> Tensor:
        return call_block(block, *args)

    def forward(self, x: Tensor, timesteps: Tensor, *args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> Tensor:
        forward = self._forward
        for wrapper in transformer_options.get("wrappers", {}).get("diffusion_model", {}).get(None, ()):
            inner = forward
            forward = lambda *a, inner=inner, wrapper=wrapper, **k: wrapper(inner, *a, **k)  # noqa: E731
        return forward(x, timesteps, *args, transformer_options=transformer_options, **kwargs)

    def _forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        transformer_options: dict[str, Any],
        y: Tensor | None = None,
        control: Any = None,
    ) -> Tensor:
        return super().forward(x, timesteps, context, transformer_options, y)


def call_block(
    block: nn.Sequential, h: Tensor, emb: Tensor, context: Tensor, options: dict[str, Any], size: Any = None
) -> Tensor:
    """Call the layers of a block as modules; the block itself is not called."""
    for layer in block:
        if isinstance(layer, Spatial):
            h = layer(h, context, options)
            options["transformer_index"] += 1
        elif isinstance(layer, Upsample):
            h = layer(h, output_shape=size)
        else:
            h = layer(h, emb) if hasattr(layer, "emb_layers") else layer(h)
    return h


class Block(nn.Sequential):
    """A block, which does the same when called as a module."""

    def forward(self, h: Tensor, *args: Any) -> Tensor:
        return call_block(self, h, *args)


class Spatial(nn.Module):
    """A spatial transformer that gets the options."""

    def __init__(self, layer: SpatialTransformer) -> None:
        super().__init__()
        self.norm, self.proj_in, self.proj_out = layer.norm, layer.proj_in, layer.proj_out
        self.transformer_blocks = layer.transformer_blocks

    def forward(self, h: Tensor, context: Tensor, options: dict[str, Any]) -> Tensor:
        return _spatial(self, h, context, options)


class Upsample(nn.Module):
    """Doubles the size, or makes it that of the next skip features."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.conv = layer.conv

    def forward(self, h: Tensor, output_shape: Any = None) -> Tensor:
        size = [2 * side for side in h.shape[2:]] if output_shape is None else output_shape[2:]
        return self.conv(nn.functional.interpolate(h, size, mode="nearest"))


FORMS = {"SpatialTransformer": Spatial, "Upsample": Upsample}


def layers_of(block: nn.Sequential) -> list[nn.Module]:
    """A block's layers, in reForge's form."""
    return [FORMS.get(type(layer).__name__, lambda same: same)(layer) for layer in block]
