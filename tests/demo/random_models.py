"""Checkpoints for tests that need no pictures of anything, made from a seed: random weights, and a last layer fitted to remove
noise from simple scenes.

Random features and a least squares fit are no trained model, but the pictures are neither black nor saturated, depend on
prompt and seed, and a UNet of the real class made them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

UNET = {
    "image_size": 32, "in_channels": 4, "model_channels": 32, "out_channels": 4, "num_res_blocks": 1,
    "attention_resolutions": [4, 2, 1], "channel_mult": [1, 2, 4, 4], "num_heads": 2, "use_spatial_transformer": True,
    "transformer_depth": 1, "context_dim": 64, "legacy": False,
}  # fmt: skip
"""Stable Diffusion 1's levels and channels at a tenth of their width, with half as many blocks."""
CHECKPOINTS = {"demo-first": 1, "demo-second": 2}
RIDGE = 1e-4
SMALL = 0.3
"""Size of the weights that end a residual branch."""
LOUD_MIDDLE = 8.0
"""The middle block's attention says more than chance would give it: most guidance acts there."""
WORDS = ("a red house", "blue sea and sky", "portrait, soft light", "", "forest, green", "night city, (neon:1.3)")


def scenes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Latents of a horizon with a few soft discs, ``(count, 4, size, size)``."""
    place = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(place, place, indexing="ij")

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    colours = draw(count, 4, 4, 1, 1) * torch.tensor([1.3, 1.1, 1.1, 0.6])[:, None, None]
    horizon = torch.sigmoid((y - draw(count, 1, 1, 1) * 0.6) * 12)
    latents = torch.lerp(colours[:, 0], colours[:, 1], horizon)
    for disc in (2, 3):
        cx, cy, radius = draw(count, 1, 1, 1), draw(count, 1, 1, 1), draw(count, 1, 1, 1).abs() * 0.4 + 0.15
        inside = torch.sigmoid((radius - ((x - cx) ** 2 + (y - cy) ** 2).sqrt()) * 16)
        latents = torch.lerp(latents, colours[:, disc], inside)
    return latents


def _randomise(unet: nn.Module, generator: torch.Generator) -> None:
    """New weights everywhere; layers that training starts at zero get small ones: else no block would have an effect."""
    for module in unet.modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        size = SMALL if not module.weight.any() else 1.0
        weight = module.weight
        weight.copy_(torch.randn(weight.shape, generator=generator) * size / weight[0].numel() ** 0.5)
        if module.bias is not None:
            module.bias.zero_()


def _let_input_through(unet: nn.Module) -> None:
    """The input itself, plus and minus, in the first channels of the first skip, and from there to the last layer.

    Without it the last layer's normalised features say too little of the input for the fit.
    """
    first, last = unet.input_blocks[0][0], unet.output_blocks[-1][0].skip_connection
    kept = 2 * unet.in_channels
    first.weight[:kept] = 0.0
    for channel in range(kept):
        first.weight[channel, channel % unet.in_channels, 1, 1] = 1.0 if channel < unet.in_channels else -1.0
    of_skip = last.in_channels - unet.model_channels
    last.weight[:kept] = 0.0
    for channel in range(kept):
        last.weight[channel, of_skip + channel] = 1.0


def _fit_last_layer(model: Any, generator: torch.Generator, rounds: int = 12, count: int = 8) -> None:
    """Least squares for the last convolution: features of noisy scenes at all noise levels to the noise in them."""
    last = model.model.diffusion_model.out[-1]
    columns = last.weight[0].numel() + 1
    left, right = torch.zeros(columns, columns, dtype=torch.float64), torch.zeros(columns, 4, dtype=torch.float64)
    seen: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for i in range(rounds):
        x0 = scenes(count, 32, generator)
        noise = torch.randn(x0.shape, generator=generator)
        t = torch.randint(0, 1000, (count,), generator=generator)
        alpha = model.alphas_cumprod[t][:, None, None, None]
        texts = [WORDS[(i + j) % len(WORDS)] for j in range(count)]
        context = model.get_learned_conditioning(texts)
        model.apply_model(alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise, t.float(), {"c_crossattn": [context]})
        features = nn.functional.unfold(seen.pop(), 3, padding=1).transpose(1, 2).reshape(-1, columns - 1).double()
        features = torch.cat([features, torch.ones(len(features), 1)], 1)
        left += features.T @ features
        right += features.T @ noise.flatten(2).transpose(1, 2).reshape(-1, 4).double()
    hook.remove()
    left += torch.eye(columns) * RIDGE * left.diagonal().mean()
    fitted = torch.linalg.solve(left, right).T.float()
    last.weight.copy_(fitted[:, :-1].view_as(last.weight))
    last.bias.copy_(fitted[:, -1])


@torch.no_grad()
def make_checkpoint(path: str, seed: int) -> None:
    """Writes one checkpoint; half precision, its configuration in the file's metadata."""
    from modules.diffusion import DemoDiffusion
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    model = DemoDiffusion({"unet": UNET})
    _randomise(model.model, generator)
    _let_input_through(model.model.diffusion_model)
    for block in model.model.diffusion_model.middle_block:
        ending = getattr(block, "proj_out", None)
        if ending is not None:
            ending.weight.mul_(LOUD_MIDDLE)
    _fit_last_layer(model, generator)
    weights = {f"model.{name}": value.half().contiguous() for name, value in model.model.state_dict().items()}
    metadata = {"sdfm_demo": json.dumps({"unet": UNET, "parameterization": "eps", "seed": seed})}
    partial = f"{path}.{os.getpid()}.partial"
    save_file(weights, partial, metadata)
    os.chmod(partial, 0o644)
    os.replace(partial, path)


def ensure_checkpoints(folder: Path) -> None:
    """Makes those that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in CHECKPOINTS.items():
        if not (folder / f"{name}.safetensors").is_file():
            make_checkpoint(str(folder / f"{name}.safetensors"), seed)
