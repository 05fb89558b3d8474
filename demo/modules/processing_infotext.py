"""Generation parameters as text, and a job's result."""

from __future__ import annotations

import json
from typing import Any

from modules import errors, infotext_versions, shared
from modules.infotext_quoting import quote
from modules.shared import opts

SAMPLING = {"Steps": "steps", "Sampler": "sampler_name", "Schedule type": "scheduler", "CFG scale": "cfg_scale"}
"""The first parameters, by the job's fields."""


def _written(key: str, value: Any, given: dict[str, Any]) -> Any:
    """Values may be lists, one per picture of the job, or functions of the locals of ``create_infotext``."""
    try:
        if isinstance(value, list):
            return value[given["index"]]
        return value(**given) if callable(value) else value
    except Exception:
        errors.report(f"The generation parameter {key!r} could not be written", exc_info=True)
        return None


def create_infotext(
    p: Any,
    all_prompts: list[str],
    all_seeds: list[int],
    all_subseeds: list[int],
    comments: Any = None,
    iteration: int = 0,
    position_in_batch: int = 0,
    use_main_prompt: bool = False,
    index: int | None = None,
    all_negative_prompts: list[str] | None = None,
) -> str:
    """The text of one picture. Keys stand in the order in which they were set, None is left out."""
    negatives = p.all_negative_prompts if all_negative_prompts is None else all_negative_prompts
    place = iteration * p.batch_size + position_in_batch if index is None else index
    if use_main_prompt:
        place, prompts = 0, (p.main_prompt, p.main_negative_prompt)
    else:
        prompts = all_prompts[place], negatives[place]
    given = {**locals(), "index": place, "prompt_text": prompts[0], "negative_prompt": prompts[1]}
    params = {
        **_base_params(p, place, all_seeds, all_subseeds),
        **p.extra_generation_params,
        "Version": infotext_versions.VERSION,
        "User": p.user,
    }
    written = {key: _written(key, value, given) for key, value in params.items()}
    pairs = (key if key == value else f"{key}: {quote(value)}" for key, value in written.items() if value is not None)
    negative = f"\nNegative prompt: {prompts[1]}" if prompts[1] else ""
    return f"{prompts[0]}{negative}\n{', '.join(pairs)}".strip()


def _base_params(p: Any, index: int, all_seeds: list[int], all_subseeds: list[int]) -> dict[str, Any]:
    layers_left_out = opts.CLIP_stop_at_last_layers
    return {
        **{key: getattr(p, name) for key, name in SAMPLING.items()},
        "Seed": all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model hash": p.sd_model_hash,
        "Model": p.sd_model_name,
        "VAE hash": p.sd_vae_hash,
        "VAE": p.sd_vae_name,
        "Variation seed": all_subseeds[index] if p.subseed_strength else None,
        "Variation seed strength": p.subseed_strength or None,
        "Denoising strength": p.extra_generation_params.get("Denoising strength"),
        "Clip skip": layers_left_out if layers_left_out > 1 else None,
        "RNG": None if opts.randn_source == "GPU" else opts.randn_source,
    }


class Processed:
    """The result of a job: pictures with their texts, a grid of them first if there is one."""

    def __init__(
        self,
        p: Any,
        images_list: list[Any],
        seed: int = -1,
        info: str = "",
        subseed: int | None = None,
        all_prompts: list[str] | None = None,
        all_negative_prompts: list[str] | None = None,
        all_seeds: list[int] | None = None,
        all_subseeds: list[int] | None = None,
        index_of_first_image: int = 0,
        infotexts: list[str] | None = None,
        comments: str = "",
    ) -> None:
        self.images = images_list
        self.info = info
        self.infotexts = infotexts or [info]
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.index_of_first_image = index_of_first_image
        self.seed = seed if seed is not None else -1
        self.subseed = subseed if subseed is not None else -1
        self.prompt = _first(p.prompt)
        self.negative_prompt = _first(p.negative_prompt)
        for name in ("width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "extra_generation_params"):
            setattr(self, name, getattr(p, name))
        self.sd_model_name, self.sd_model_hash = p.sd_model_name, p.sd_model_hash
        self.denoising_strength = p.denoising_strength
        self.job_timestamp = shared.state.job_timestamp
        self.clip_skip = opts.CLIP_stop_at_last_layers
        self.version = infotext_versions.VERSION
        self.all_prompts = all_prompts or getattr(p, "all_prompts", None) or [self.prompt]
        self.all_negative_prompts = all_negative_prompts or getattr(p, "all_negative_prompts", None) or [self.negative_prompt]
        self.all_seeds = all_seeds or getattr(p, "all_seeds", None) or [self.seed]
        self.all_subseeds = all_subseeds or getattr(p, "all_subseeds", None) or [self.subseed]

    def js(self) -> str:
        """As JSON: the API's ``info``."""
        left_out = ("images", "comments", "extra_generation_params")
        values = {name: value for name, value in vars(self).items() if name not in left_out}
        noted = {key: value for key, value in self.extra_generation_params.items() if not callable(value)}
        return json.dumps({**values, "extra_generation_params": noted}, default=lambda value: None)

    def infotext(self, p: Any, index: int) -> str:
        return create_infotext(
            p, self.all_prompts, self.all_seeds, self.all_subseeds, all_negative_prompts=self.all_negative_prompts, index=index
        )


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value
