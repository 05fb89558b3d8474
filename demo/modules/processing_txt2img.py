"""txt2img and its hires pass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from modules import prompt_parser, rng, sd_models, sd_samplers, shared
from modules.processing_base import Cache, StableDiffusionProcessing
from modules.shared import opts, state

FACTOR = 8


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    """The sampler is made in ``sample``, another one for the hires pass."""

    enable_hr: bool = False
    denoising_strength: float = 0.75
    hr_scale: float = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: Any = ""
    hr_negative_prompt: Any = ""
    force_task_id: str | None = None

    cached_hr_c: ClassVar[Cache] = [None, None]
    cached_hr_uc: ClassVar[Cache] = [None, None]

    hr_checkpoint_info: Any = field(default=None, init=False)
    hr_upscale_to_x: int = field(default=0, init=False)
    hr_upscale_to_y: int = field(default=0, init=False)
    latent_scale_mode: Any = field(default=None, init=False)
    hr_c: Any = field(default=None, init=False)
    hr_uc: Any = field(default=None, init=False)
    hr_extra_network_data: dict[str, Any] = field(default_factory=dict, init=False)

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        if not self.enable_hr:
            return
        noted = self.extra_generation_params
        noted["Denoising strength"] = self.denoising_strength
        if self.hr_checkpoint_name and self.hr_checkpoint_name != "Use same checkpoint":
            self.hr_checkpoint_info = sd_models.get_closet_checkpoint_match(self.hr_checkpoint_name)
            if self.hr_checkpoint_info is None:
                raise ValueError(f"Could not find checkpoint with name {self.hr_checkpoint_name}")
            noted["Hires checkpoint"] = self.hr_checkpoint_info.short_title
        if self.hr_sampler_name is not None and self.hr_sampler_name != self.sampler_name:
            noted["Hires sampler"] = self.hr_sampler_name
        noted["Hires prompt"] = _if_other("all_hr_prompts", "prompt_text")
        noted["Hires negative prompt"] = _if_other("all_hr_negative_prompts", "negative_prompt")
        noted["Hires schedule type"] = None  # its place; the sampler fills it
        self.hr_scheduler = self.hr_scheduler or self.scheduler
        self.latent_scale_mode = shared.latent_upscale_modes.get(self.hr_upscaler or shared.latent_upscale_default_mode)
        if self.latent_scale_mode is None:
            raise ValueError(f"could not find upscaler named {self.hr_upscaler}")
        self.calculate_target_resolution()
        if not state.processing_has_refined_job_count:
            state.job_count = (self.n_iter if state.job_count == -1 else state.job_count) * 2
            state.processing_has_refined_job_count = True
        if self.hr_second_pass_steps:
            noted["Hires steps"] = self.hr_second_pass_steps
        if self.hr_upscaler is not None:
            noted["Hires upscaler"] = self.hr_upscaler

    def calculate_target_resolution(self) -> None:
        """By factor, or by a width or height (A1111 also crops where both are given; here both are taken as they are)."""
        if not self.hr_resize_x and not self.hr_resize_y:
            self.extra_generation_params["Hires upscale"] = self.hr_scale
            wanted = self.width * self.hr_scale, self.height * self.hr_scale
        else:
            self.extra_generation_params["Hires resize"] = f"{self.hr_resize_x}x{self.hr_resize_y}"
            wanted = (
                self.hr_resize_x or self.hr_resize_y * self.width / self.height,
                self.hr_resize_y or self.hr_resize_x * self.height / self.width,
            )
        self.hr_upscale_to_x, self.hr_upscale_to_y = map(int, wanted)

    def sample(self, conditioning: Any, unconditional_conditioning: Any, **kwargs: Any) -> Tensor:
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        self._before_sampling(x, x, conditioning, unconditional_conditioning)
        samples = self.sampler.sample(
            self, x, conditioning, unconditional_conditioning, image_conditioning=self.image_conditioning_like(x)
        )
        if not self.enable_hr:
            return samples
        with sd_models.SkipWritingToConfig():  # without an own checkpoint this leaves a refiner's again
            sd_models.reload_model_weights(info=self.hr_checkpoint_info)
        return self.sample_hr_pass(samples)

    def sample_hr_pass(self, samples: Tensor) -> Tensor:
        """The enlarged latent, sampled again by the last part of a schedule."""
        if state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = sd_samplers.create_sampler(self.hr_sampler_name or self.sampler_name, self.sd_model)
        size = self.hr_upscale_to_y // FACTOR, self.hr_upscale_to_x // FACTOR
        samples = torch.nn.functional.interpolate(samples, size=size, **self.latent_scale_mode)
        state.nextjob()
        self.rng = rng.ImageRNG(samples.shape[1:], self.seeds, self.subseeds, self.subseed_strength)
        noise = self.rng.next()
        self.calculate_hr_conds()
        if self.scripts is not None:
            self.scripts.before_hr(self)
        self._before_sampling(samples, noise, self.hr_c, self.hr_uc)
        samples = self.sampler.sample_img2img(
            self,
            samples,
            noise,
            self.hr_c,
            self.hr_uc,
            steps=self.hr_second_pass_steps or self.steps,
            image_conditioning=self.image_conditioning_like(samples),
        )
        self.sampler = None
        self.is_hr_pass = False
        return samples

    def _before_sampling(self, x: Tensor, noise: Tensor, c: Any, uc: Any) -> None:
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(p=self, x=x, noise=noise, c=c, uc=uc)

    def close(self) -> None:
        super().close()
        self.hr_c = self.hr_uc = None
        if not opts.persistent_cond_cache:
            self.cached_hr_c[:] = self.cached_hr_uc[:] = [None, None]

    def setup_prompts(self) -> None:
        super().setup_prompts()
        if not self.enable_hr:
            return
        count = self.batch_size * self.n_iter
        self.hr_prompt = self.hr_prompt or self.prompt
        self.hr_negative_prompt = self.hr_negative_prompt or self.negative_prompt
        prompts, negative = self.hr_prompt, self.hr_negative_prompt
        self.all_hr_prompts = prompts if isinstance(prompts, list) else [prompts] * count
        self.all_hr_negative_prompts = negative if isinstance(negative, list) else [negative] * count
        self.all_hr_prompts, self.all_hr_negative_prompts = self.with_styles(self.all_hr_prompts, self.all_hr_negative_prompts)

    def parse_extra_network_prompts(self) -> None:
        super().parse_extra_network_prompts()
        if self.enable_hr:
            batch = slice(self.iteration * self.batch_size, (self.iteration + 1) * self.batch_size)
            self.hr_prompts, self.hr_negative_prompts = self.all_hr_prompts[batch], self.all_hr_negative_prompts[batch]

    def calculate_hr_conds(self) -> None:
        if self.hr_c is not None:
            return
        size = {"width": self.hr_upscale_to_x, "height": self.hr_upscale_to_y}
        prompts = prompt_parser.SdConditioning(self.hr_prompts, **size)
        negative = prompt_parser.SdConditioning(self.hr_negative_prompts, is_negative_prompt=True, **size)
        config = sd_samplers.find_sampler_config(self.hr_sampler_name or self.sampler_name)
        steps = self.hr_second_pass_steps or self.steps
        calls = config.total_steps(steps) if config else steps
        for name, function, texts, of_first in (
            ("uc", prompt_parser.get_learned_conditioning, negative, self.cached_uc),
            ("c", prompt_parser.get_multicond_learned_conditioning, prompts, self.cached_c),
        ):
            caches = [getattr(self, f"cached_hr_{name}"), of_first]
            data = self.hr_extra_network_data
            conds = self.get_conds_with_caching(function, texts, self.firstpass_steps, caches, data, calls)
            setattr(self, f"hr_{name}", conds)

    def setup_conds(self) -> None:
        if self.is_hr_pass:  # a refiner in the hires pass
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_c = self.hr_uc = None
        if self.enable_hr and self.hr_checkpoint_info is None and opts.hires_fix_use_firstpass_conds:
            self.calculate_hr_conds()

    def get_conds(self) -> tuple[Any, Any]:
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()


def _if_other(attribute: str, first_pass: str) -> Any:
    """A generation parameter that is there only where the hires pass has another text."""

    def text(p: Any, index: int, **kwargs: Any) -> str | None:
        of_hires = getattr(p, attribute)[index]
        return None if of_hires == kwargs[first_pass] else of_hires

    return text
