"""The processing object: everything that one job asks for, and the conds of its batches."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from modules import prompt_parser, sd_samplers, shared
from modules.shared import opts

Cache = list[Any]


@dataclass(repr=False)
class StableDiffusionProcessing:
    """A job. The fields up to ``override_settings`` are also those of the API."""

    sd_model: InitVar[Any] = None
    prompt: Any = ""
    negative_prompt: Any = ""
    styles: list[str] | None = None
    seed: Any = -1
    subseed: Any = -1
    subseed_strength: float = 0
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    eta: float | None = None
    denoising_strength: float | None = None
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    comments: dict[str, int] | None = None
    extra_generation_params: dict[str, Any] | None = None
    sampler_noise_scheduler_override: Any = None

    cached_c: ClassVar[Cache] = [None, None]
    cached_uc: ClassVar[Cache] = [None, None]

    is_api: bool = field(default=False, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    iteration: int = field(default=0, init=False)
    sampler: Any = field(default=None, init=False)
    rng: Any = field(default=None, init=False)
    c: Any = field(default=None, init=False)
    uc: Any = field(default=None, init=False)
    refiner_checkpoint_info: Any = field(default=None, init=False)
    scripts_value: Any = field(default=None, init=False)
    script_args_value: Any = field(default=None, init=False)
    scripts_setup_complete: bool = field(default=False, init=False)
    extra_network_data: dict[str, Any] = field(default_factory=dict, init=False)
    user: str | None = field(default=None, init=False)

    def __post_init__(self, sd_model: Any) -> None:
        self.styles = self.styles or []
        self.override_settings = self.override_settings or {}
        self.extra_generation_params = {} if self.extra_generation_params is None else self.extra_generation_params
        self.comments = self.comments or {}
        self.outpath_samples = self.outpath_grids = None
        self.sd_model_name = self.sd_model_hash = self.sd_vae_name = self.sd_vae_hash = None

    @property
    def scripts(self) -> Any:
        return self.scripts_value

    @scripts.setter
    def scripts(self, value: Any) -> None:
        self.scripts_value = value
        self._setup_scripts_when_ready()

    @property
    def script_args(self) -> Any:
        return self.script_args_value

    @script_args.setter
    def script_args(self, value: Any) -> None:
        self.script_args_value = value
        self._setup_scripts_when_ready()

    def _setup_scripts_when_ready(self) -> None:
        """The built-in parts of the panel write their values once both are known; not for the API."""
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.scripts_setup_complete = True
            self.scripts_value.setup_scrips(self, is_ui=not self.is_api)

    def comment(self, text: str) -> None:
        """A line under the picture."""
        self.comments[text] = 1

    def fill_fields_from_opts(self) -> None:
        for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(opts, name))
        self.s_tmax = self.s_tmax or float("inf")

    def init(self, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int]) -> None:
        """Before the first batch."""

    def sample(self, conditioning: Any, unconditional_conditioning: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError

    def close(self) -> None:
        self.sampler = self.c = self.uc = None
        if not opts.persistent_cond_cache:
            StableDiffusionProcessing.cached_c[:] = StableDiffusionProcessing.cached_uc[:] = [None, None]

    def __enter__(self) -> StableDiffusionProcessing:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def setup_prompts(self) -> None:
        """One prompt and negative prompt per picture of the job."""
        count = self.batch_size * self.n_iter
        if isinstance(self.negative_prompt, list) and not isinstance(self.prompt, list):
            count = len(self.negative_prompt)
        self.all_prompts = self.prompt if isinstance(self.prompt, list) else [self.prompt] * count
        negative = self.negative_prompt
        self.all_negative_prompts = negative if isinstance(negative, list) else [negative] * len(self.all_prompts)
        if len(self.all_prompts) != len(self.all_negative_prompts):
            counts = len(self.all_prompts), len(self.all_negative_prompts)
            raise RuntimeError("Received a different number of prompts ({}) and negative prompts ({})".format(*counts))
        self.all_prompts, self.all_negative_prompts = self.with_styles(self.all_prompts, self.all_negative_prompts)
        self.main_prompt, self.main_negative_prompt = self.all_prompts[0], self.all_negative_prompts[0]

    def with_styles(self, prompts: list[str], negative: list[str]) -> tuple[list[str], list[str]]:
        """Prompts and negative prompts in the job's styles."""
        styles = shared.prompt_styles
        return (
            [styles.apply_styles_to_prompt(text, self.styles) for text in prompts],
            [styles.apply_negative_styles_to_prompt(text, self.styles) for text in negative],
        )

    def cached_params(self, prompts: Any, steps: int, network_data: Any, hires_steps: int | None, old: bool) -> tuple:
        """Return all that a cached cond depends on; prompts are part of it."""
        of_settings = (opts.CLIP_stop_at_last_layers, opts.emphasis)
        size = self.width, self.height
        info = shared.sd_model.sd_checkpoint_info
        return (list(prompts), steps, hires_steps, old, info, str(network_data), size, of_settings)

    def get_conds_with_caching(
        self, function: Any, prompts: Any, steps: int, caches: list[Cache], network_data: Any, hires_steps: int | None = None
    ) -> Any:
        """``function`` of the prompts, remembered in the first cache: the conds of a job are the cache's own objects."""
        old = opts.use_old_scheduling
        if old:
            self.extra_generation_params["Old prompt editing timelines"] = True
        wanted = self.cached_params(prompts, steps, network_data, hires_steps, old)
        for cache in caches:
            if cache[0] is not None and cache[0] == wanted:
                return cache[1]
        caches[0][1] = function(shared.sd_model, prompts, steps, hires_steps, old)
        caches[0][0] = wanted
        return caches[0][1]

    def setup_conds(self) -> None:
        """Conds of the batch; also called when a refiner takes over."""
        size = {"width": self.width, "height": self.height}
        prompts = prompt_parser.SdConditioning(self.prompts, **size)
        negative = prompt_parser.SdConditioning(self.negative_prompts, is_negative_prompt=True, **size)
        config = sd_samplers.find_sampler_config(self.sampler_name)
        calls = config.total_steps(self.steps) if config else self.steps
        self.step_multiplier, self.firstpass_steps = calls // self.steps, calls
        data = self.extra_network_data
        self.uc = self.get_conds_with_caching(prompt_parser.get_learned_conditioning, negative, calls, [self.cached_uc], data)
        multicond = prompt_parser.get_multicond_learned_conditioning
        self.c = self.get_conds_with_caching(multicond, prompts, calls, [self.cached_c], data)

    def get_conds(self) -> tuple[Any, Any]:
        return self.c, self.uc

    def parse_extra_network_prompts(self) -> None:
        """A1111 takes ``<lora:...>`` out of the prompts here; this host has no extra networks."""

    def save_samples(self) -> bool:
        return opts.samples_save and not self.do_not_save_samples

    def image_conditioning_like(self, latents: Tensor) -> Tensor:
        """A1111's placeholder for models that take no picture as conditioning."""
        return latents.new_zeros(latents.shape[0], 5, 1, 1)


StableDiffusionProcessing.sd_model = property(lambda p: shared.sd_model)
"""The checkpoint loaded at the moment: a refiner changes it."""


def unit_to_latents(image: Tensor) -> Tensor:
    """Pictures in [0, 1] as latents."""
    model = shared.sd_model
    return model.get_first_stage_encoding(model.encode_first_stage(image * 2 - 1))


def latents_to_unit(latents: Tensor) -> Tensor:
    """Latents as pictures in [0, 1]."""
    return torch.clamp(shared.sd_model.decode_first_stage(latents) / 2 + 0.5, 0, 1)
