"""UNets of the true shapes of Stable Diffusion, of the LDM class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from demo.importable import replace_omegaconf

replace_omegaconf()

from ldm.modules.attention import SpatialTransformer  # noqa: E402
from ldm.modules.diffusionmodules.openaimodel import UNetModel  # noqa: E402


@dataclass(frozen=True)
class Shape:
    """A UNet and the latent that it is measured with.

    :param depths: transformer blocks by width of the level, in multiples of ``channels``; 0: none
    :param context: channels of the text's conditioning
    :param tokens: its length
    :param heads: number of heads, or
    :param head_channels: channels of each
    :param extra: channels of the other conditioning (SDXL), 0: none
    :param side: of the latent
    """

    depths: dict[int, int]
    context: int
    side: int
    channels: int = 320
    tokens: int = 77
    heads: int = -1
    head_channels: int = -1
    extra: int = 0

    @property
    def linear(self) -> bool:
        return self.extra > 0


SHAPES = {
    "sdxl-1024": Shape({1: 0, 2: 2, 4: 10}, context=2048, side=128, head_channels=64, extra=2816),
    "sd15-512": Shape({1: 1, 2: 1, 4: 1}, context=768, side=64, heads=8),
}
SD15_MULTIPLES, SDXL_MULTIPLES = (1, 2, 4, 4), (1, 2, 4)


def make_unet(shape: Shape, device: str) -> UNetModel:
    """The UNet, with weights as they are initialised, or none on ``meta``."""
    multiples = SDXL_MULTIPLES if shape.extra else SD15_MULTIPLES
    with torch.device(device):
        unet = UNetModel(
            image_size=shape.side, in_channels=4, out_channels=4, model_channels=shape.channels, num_res_blocks=2,
            channel_mult=multiples, attention_resolutions=[2**i for i in range(3) if shape.depths[multiples[i]]],
            num_heads=shape.heads, num_head_channels=shape.head_channels, use_spatial_transformer=True, transformer_depth=1,
            context_dim=[shape.context], use_linear_in_transformer=shape.linear, use_checkpoint=False, legacy=False,
        )  # fmt: skip
        _deepen(unet, shape)
        if shape.extra:
            width = 4 * shape.channels
            unet.num_classes = "sequential"
            unet.label_emb = nn.Sequential(nn.Linear(shape.extra, width), nn.SiLU(), nn.Linear(width, width))
    return unet.eval().requires_grad_(False)


def _deepen(unet: UNetModel, shape: Shape) -> None:
    """The class makes one depth for all levels; SDXL has two."""
    for block in (*unet.input_blocks, unet.middle_block, *unet.output_blocks):
        for place, layer in enumerate(block):
            depth = shape.depths[layer.in_channels // shape.channels] if isinstance(layer, SpatialTransformer) else 1
            if depth > 1:
                heads = layer.in_channels // shape.head_channels
                block[place] = SpatialTransformer(
                    layer.in_channels, heads, shape.head_channels, depth=depth, context_dim=[shape.context] * depth,
                    use_linear=shape.linear, use_checkpoint=False,
                )  # fmt: skip


class Denoiser(nn.Module):
    """Surroundings of the UNet: it takes as many rows of conditioning as of latents.

    :param depth: most transformer blocks of a level; the class wants a context for each
    """

    def __init__(self, unet: UNetModel, depth: int) -> None:
        super().__init__()
        self.unet, self.depth = unet, depth

    def forward(self, x: torch.Tensor, time: torch.Tensor, text: torch.Tensor, extra: torch.Tensor | None) -> torch.Tensor:
        return self.unet(x, time, context=[text] * self.depth, y=extra)


def inputs(shape: Shape, rows: int, device: str) -> dict[str, torch.Tensor | None]:
    """Arguments of a :class:`Denoiser` for a number of rows."""
    return {
        "x": torch.randn(rows, 4, shape.side, shape.side, device=device),
        "time": torch.full((rows,), 500.0, device=device),
        "text": torch.randn(rows, shape.tokens, shape.context, device=device),
        "extra": torch.randn(rows, shape.extra, device=device) if shape.extra else None,
    }
