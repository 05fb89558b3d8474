"""The model object that extensions see as ``shared.sd_model``: A1111's names around the real LDM UNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modules.autoencoder import LatentDecoder
from modules.latent_coding import LatentCoding
from modules.sd_unet import create_unet
from modules.text_encoder import HashedTextEncoder, TrainedTextEncoder

BETA_START, BETA_END, TIMESTEPS = 0.00085, 0.0120, 1000


def stable_diffusion_alphas() -> Tensor:
    """The table of Stable Diffusion 1 and XL: betas linear in their square root."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


class DiffusionWrapper(nn.Module):
    """Between the LatentDiffusion and its UNet, as in LDM: conditioning arrives as lists of tensors."""

    conditioning_key = "crossattn"

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.diffusion_model = unet

    def forward(self, x: Tensor, t: Tensor, c_crossattn: Sequence[Tensor], c_concat: Any = None) -> Tensor:
        return self.diffusion_model(x, t, context=torch.cat(list(c_crossattn), 1))


class DemoDiffusion(nn.Module):
    """A checkpoint in memory.

    :param config: what the checkpoint says of itself: ``parameterization``; arguments of its ``unet``, and, if it has them, of
        its ``text`` encoder and latent ``coding``
    """

    is_sd1, is_sd2, is_sdxl, is_sd3, is_ssd, is_sdxl_inpaint = True, False, False, False, False, False
    cond_stage_key = "txt"
    latent_channels = 4

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.parameterization: str = config.get("parameterization", "eps")
        self.model = DiffusionWrapper(create_unet(config["unet"]))
        trained = "text" in config
        self.cond_stage_model = (
            TrainedTextEncoder(config["text"]) if trained else HashedTextEncoder(config["unet"]["context_dim"])
        )
        self.first_stage_model = LatentCoding(**config["coding"]) if "coding" in config else LatentDecoder()
        self.register_buffer("alphas_cumprod", stable_diffusion_alphas())
        self.register_buffer("alphas_cumprod_original", self.alphas_cumprod.clone())
        self.sd_checkpoint_info: Any = None
        self.sd_model_hash: str | None = None
        self.cond_stage_model_empty_prompt = self.cond_stage_model([""])

    @property
    def device(self) -> torch.device:
        return self.alphas_cumprod.device

    @property
    def dtype(self) -> torch.dtype:
        return self.alphas_cumprod.dtype

    def apply_model(self, x_noisy: Tensor, t: Tensor, cond: dict[str, Any]) -> Tensor:
        """The UNet's prediction for ``x_noisy`` (already scaled for it) at the timesteps ``t``, which may be fractions."""
        return self.model(x_noisy, t, **cond)

    def get_learned_conditioning(self, texts: Sequence[str]) -> Tensor:
        return self.cond_stage_model(texts)

    def decode_first_stage(self, latents: Tensor) -> Tensor:
        return self.first_stage_model.decode(latents)

    def encode_first_stage(self, pictures: Tensor) -> Tensor:
        return self.first_stage_model.encode(pictures)

    def get_first_stage_encoding(self, encoded: Tensor) -> Tensor:
        return encoded
