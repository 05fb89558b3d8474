"""The UNet with the host's attention optimisation, and the place where a replacement of it would be announced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from modules.libraries import SpatialTransformer, UNetModel, timestep_embedding
from modules.sd_hijack_unet import th

OWN_ARGUMENTS = ("middle_depth", "groups", "out_groups")
"""Of :func:`create_unet`, not LDM's."""


def _optimised_class(original: type) -> type:
    class OptimisedAttention(original):
        """Attention as by A1111's "sdp": calls the projections as modules, but bypasses ``to_out`` itself."""

        def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
            context = x if context is None else context
            query, key, value = self.to_q(x), self.to_k(context), self.to_v(context)
            query, key, value = (rows.unflatten(-1, (self.heads, -1)).transpose(1, 2) for rows in (query, key, value))
            attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            return self.to_out[1](self.to_out[0](attended.transpose(1, 2).flatten(2)))

    OptimisedAttention.__name__ = original.__name__
    return OptimisedAttention


class OddSizeUNet(UNetModel):
    """LDM's UNet for all sizes: as in A1111 the decoder's feature maps take the size of the skips."""

    def forward(
        self, x: Tensor, timesteps: Tensor | None = None, context: Tensor | None = None, y: Any = None, **kwargs: Any
    ) -> Tensor:
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels, repeat_only=False))
        h, skips = x.type(self.dtype), []
        for block in self.input_blocks:
            h = block(h, emb, context)
            skips.append(h)
        h = self.middle_block(h, emb, context)
        for block in self.output_blocks:
            h = block(th.cat([h, skips.pop()], dim=1), emb, context)
        return self.out(h.type(x.dtype))


class DeepTransformer(SpatialTransformer):
    """Several transformer blocks for one context: LDM's class wants a context for each."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x, [context] * len(self.transformer_blocks))


def _deepen_middle(unet: nn.Module, depth: int) -> None:
    """SDXL's middle block has more transformer blocks than the levels; LDM's UNet knows one number for all."""
    middle = unet.middle_block[1]
    first = middle.transformer_blocks[0]
    more = [
        type(first)(first.norm1.normalized_shape[0], first.attn1.heads, first.attn1.to_q.out_features // first.attn1.heads,
                    context_dim=first.attn2.to_k.in_features, checkpoint=first.checkpoint)
        for _ in range(depth - 1)
    ]  # fmt: skip
    middle.transformer_blocks.extend(more)
    middle.__class__ = DeepTransformer


def create_unet(config: dict[str, Any]) -> nn.Module:
    """The UNet; attention is exchanged on the instances, so that LDM's classes stay as they are.

    :param config: arguments of LDM's class, and if wanted ``middle_depth``: transformer blocks in the middle, and ``groups``:
        of the group norms (LDM's 32 leave a narrow UNet one channel each, which then can't say what its mean is),
        and ``out_groups``: of the last one
    """
    arguments = {name: value for name, value in config.items() if name not in OWN_ARGUMENTS}
    unet = OddSizeUNet(**arguments)
    if config.get("middle_depth", 1) > 1:
        _deepen_middle(unet, config["middle_depth"])
    for module in unet.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = config.get("groups", module.num_groups)
    unet.out[0].num_groups = config.get("out_groups", unet.out[0].num_groups)
    unet.eval().requires_grad_(False)
    classes: dict[type, type] = {}
    for module in unet.modules():
        if all(hasattr(module, name) for name in ("to_q", "to_k", "to_v", "to_out")):
            kind = type(module)
            module.__class__ = classes.setdefault(kind, _optimised_class(kind))
    return unet
