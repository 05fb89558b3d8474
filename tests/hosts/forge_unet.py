"""A UNet that calls patches where Forge's does, around the weights of a real LDM UNet."""

from __future__ import annotations

from typing import Any

import torch
from ldm.modules.attention import BasicTransformerBlock, SpatialTransformer
from ldm.modules.diffusionmodules.util import timestep_embedding
from torch import Tensor, nn


class ForgeUnet(nn.Module):
    """The same function as ``unet``, with Forge's transformer patches.

    :param unet: an LDM UNet; its blocks are shared
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList(map(self.block_of, unet.input_blocks))
        self.middle_block = self.block_of(unet.middle_block)
        self.output_blocks = nn.ModuleList(map(self.block_of, unet.output_blocks))
        self.time_embed, self.out, self.model_channels = unet.time_embed, unet.out, unet.model_channels
        self.label_emb = None if unet.num_classes is None else unet.label_emb

    def block_of(self, block: nn.Sequential) -> nn.Module:
        """A block of the LDM UNet in the host's form."""
        return ForgeBlock(*block)

    def call_block(self, block: nn.Module, *args: Any) -> Tensor:
        """Call a block as the host does."""
        return block(*args)

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor, transformer_options: dict[str, Any], y: Tensor | None = None
    ) -> Tensor:
        options = transformer_options
        options["original_shape"] = list(x.shape)
        options["transformer_index"] = 0
        patches = options.get("patches", {})
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels, repeat_only=False))
        if self.label_emb is not None:
            emb = emb + self.label_emb(y)
        h, skips = x, []
        for number, block in enumerate(self.input_blocks):
            options["block"] = ("input", number)
            h = self.call_block(block, h, emb, context, options)
            skips.append(h)
        options["block"] = ("middle", 0)
        h = self.call_block(self.middle_block, h, emb, context, options)
        for number, block in enumerate(self.output_blocks):
            options["block"], skip = ("output", number), skips.pop()
            for patch in patches.get("output_block_patch", ()):
                h, skip = patch(h, skip, options)
            size = skips[-1].shape if skips else None
            h = self.call_block(block, torch.cat([h, skip], 1), emb, context, options, size)
        return self.out(h)


class ForgeBlock(nn.Sequential):
    """A block of the UNet, called with all that Forge hands on."""

    def forward(self, h: Tensor, emb: Tensor, context: Tensor, options: dict, size: Any = None) -> Tensor:
        for layer in self:
            if isinstance(layer, SpatialTransformer):
                h = _spatial(layer, h, context, options)
                options["transformer_index"] += 1
            elif hasattr(layer, "emb_layers"):
                h = layer(h, emb)
            elif type(layer).__name__ == "Upsample":  # to the size of the next skip, so that odd sizes need no cut
                h = layer.conv(nn.functional.interpolate(h, size[2:], mode="nearest"))
            else:
                h = layer(h)
        return h


def _spatial(layer: SpatialTransformer, x: Tensor, context: Tensor, options: dict) -> Tensor:
    height, width = x.shape[2:]
    h = layer.proj_in(layer.norm(x)).flatten(2).transpose(1, 2)
    for number, transformer in enumerate(layer.transformer_blocks):
        for hook in transformer._forward_pre_hooks.values():  # Forge's blocks are called as modules
            h = hook(transformer, (h,), {"context": context, "transformer_options": options})[0][0]
        h = _transformer(transformer, h, context, {**options, "block_index": number})
    return layer.proj_out(h.transpose(1, 2).unflatten(2, (height, width))) + x


def _transformer(layer: BasicTransformerBlock, x: Tensor, context: Tensor, options: dict) -> Tensor:
    patches, replaced = options.get("patches", {}), options.get("patches_replace", {}).get("attn1", {})
    extra = {name: value for name, value in options.items() if name not in ("patches", "patches_replace")}
    n = layer.norm1(x)
    own = value = n
    for patch in patches.get("attn1_patch", ()):
        n, own, value = patch(n, own, value, extra)
    place = (*options["block"], options["block_index"])
    replacement = replaced.get(place, replaced.get(options["block"]))
    q, k, v = layer.attn1.to_q(n), layer.attn1.to_k(own), layer.attn1.to_v(value)
    n = layer.attn1.to_out(replacement(q, k, v, extra) if replacement else _attention(q, k, v, layer.attn1.heads))
    for patch in patches.get("attn1_output_patch", ()):
        n = patch(n, extra)
    x = n + x
    n, other = layer.norm2(x), context if patches.get("attn2_patch") else None
    for patch in patches.get("attn2_patch", ()):
        n, context, other = patch(n, context, other, extra)
    if "forward" in vars(layer.attn2):  # replaced by an extension
        own_values = {} if other is None else {"value": other}  # LDM's class, which takes none, stands in for Forge's
        return _feed_forward(layer, layer.attn2.forward(n, context=context, **own_values) + x)
    q, k, v = layer.attn2.to_q(n), layer.attn2.to_k(context), layer.attn2.to_v(context if other is None else other)
    return _feed_forward(layer, layer.attn2.to_out(_attention(q, k, v, layer.attn2.heads)) + x)


def _feed_forward(layer: BasicTransformerBlock, x: Tensor) -> Tensor:
    return layer.ff(layer.norm3(x)) + x


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
