"""img2img: the sampler is made once in ``init`` and used for all batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules import sd_samplers, shared
from modules.processing_base import StableDiffusionProcessing, unit_to_latents


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    """The host's resizing modes, mask fills and crops are not imitated: pictures are stretched, masks are plain."""

    init_images: list[Any] | None = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    mask: Any = None
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float | None = None
    force_task_id: str | None = None

    nmask: Tensor | None = field(default=None, init=False)
    init_latent: Tensor | None = field(default=None, init=False)
    image_conditioning: Tensor | None = field(default=None, init=False)

    def __post_init__(self, sd_model: Any) -> None:
        super().__post_init__(sd_model)
        self.image_mask, self.mask = self.mask, None
        if self.initial_noise_multiplier is None:
            self.initial_noise_multiplier = shared.opts.initial_noise_multiplier

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        pictures = [_as_array(picture, (self.width, self.height)) for picture in self.init_images]
        if len(pictures) == 1:
            pictures *= self.batch_size
        self.batch_size = len(pictures)
        self.init_latent = unit_to_latents(torch.from_numpy(np.stack(pictures)))
        if self.image_mask is not None:
            self._init_mask(self.image_mask)
        self.image_conditioning = self.image_conditioning_like(self.init_latent)

    def _init_mask(self, picture: Image.Image) -> None:
        """White is painted anew, by latent pixel; ``mask`` is 1 where the picture stays."""
        grey = picture.convert("L").resize(self.init_latent.shape[:1:-1])
        painted = torch.from_numpy(np.asarray(grey, dtype=np.float32) / 255).round()
        if self.inpainting_mask_invert:
            painted = 1 - painted
            self.extra_generation_params["Mask mode"] = "Inpaint not masked"
        self.nmask = painted.expand(self.init_latent.shape[1:])
        self.mask = 1 - self.nmask

    def sample(self, conditioning: Any, unconditional_conditioning: Any, **kwargs: Any) -> Tensor:
        noise = self.rng.next()
        if self.initial_noise_multiplier != 1.0:
            self.extra_generation_params["Noise multiplier"] = self.initial_noise_multiplier
            noise = noise * self.initial_noise_multiplier
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(
                p=self, x=self.init_latent, noise=noise, c=conditioning, uc=unconditional_conditioning
            )
        samples = self.sampler.sample_img2img(
            self,
            self.init_latent,
            noise,
            conditioning,
            unconditional_conditioning,
            image_conditioning=self.image_conditioning,
        )
        if self.mask is not None:
            samples = samples * self.nmask + self.init_latent * self.mask
        return samples


def _as_array(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """``(3, H, W)`` in [0, 1]; a transparent ground becomes white."""
    if picture.mode in ("RGBA", "LA", "P"):
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    return np.moveaxis(pixels / 255.0, 2, 0)
