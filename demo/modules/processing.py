"""A job from beginning to end. The order of the callbacks is A1111's."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules import devices, images, infotext_versions, paths, rng, sd_models, sd_samplers
from modules import scripts as scripts_module
from modules.processing_base import StableDiffusionProcessing, latents_to_unit, unit_to_latents
from modules.processing_img2img import StableDiffusionProcessingImg2Img
from modules.processing_infotext import Processed, create_infotext
from modules.processing_txt2img import StableDiffusionProcessingTxt2Img
from modules.shared import cmd_opts, opts, state

__all__ = [
    "Processed", "StableDiffusionProcessing", "StableDiffusionProcessingImg2Img", "StableDiffusionProcessingTxt2Img",
    "create_infotext", "get_fixed_seed", "process_images", "program_version", "unit_to_latents",
]  # fmt: skip
opt_C, opt_f = 4, 8


def program_version() -> str:
    return infotext_versions.VERSION


def get_fixed_seed(seed: Any) -> Any:
    """A random one for -1 and nothing."""
    if isinstance(seed, str):
        seed = int(seed) if seed.strip().lstrip("-").isdigit() else -1
    return int(random.randrange(2**32 - 2)) if seed in (None, -1) else seed


def fix_seed(p: Any) -> None:
    p.seed, p.subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)


def process_images(p: StableDiffusionProcessing) -> Processed:
    """Makes the pictures of a job, under its ``override_settings``, which are put back afterwards."""
    if p.scripts is not None:
        p.scripts.before_process(p)
    before = {key: opts.data[key] for key in p.override_settings if key in opts.data}
    if sd_models.checkpoint_aliases.get(p.override_settings.get("sd_model_checkpoint")) is None:
        p.override_settings.pop("sd_model_checkpoint", None)
        sd_models.reload_model_weights()
    try:
        for key, value in p.override_settings.items():
            opts.set(key, value, is_api=True, run_callbacks=False)
            if key == "sd_model_checkpoint":
                sd_models.reload_model_weights()
        sd_samplers.fix_p_invalid_sampler_and_scheduler(p)
        return process_images_inner(p)
    finally:
        if p.override_settings_restore_afterwards:
            _restore(p.override_settings, before)


def _restore(overridden: dict[str, Any], before: dict[str, Any]) -> None:
    """Puts settings back. (A1111 leaves those that config.json doesn't have; here that would outlive any test.)"""
    for key in overridden:
        if key in before:
            opts.data[key] = before[key]
        elif key in opts.data_labels:
            opts.data.pop(key, None)


def _prepare(p: StableDiffusionProcessing) -> None:
    """Names, prompts and seeds of the whole job."""
    refiner = p.refiner_checkpoint
    if refiner and refiner.lower() != "none":
        found = sd_models.get_closet_checkpoint_match(refiner)
        if found is None:
            raise ValueError(f"There is no checkpoint named {refiner!r} to refine with")
        p.refiner_checkpoint_info = found
    info = p.sd_model.sd_checkpoint_info
    p.sd_model_name, p.sd_model_hash = info.name_for_extra, p.sd_model.sd_model_hash
    p.fill_fields_from_opts()
    p.setup_prompts()
    seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
    count = range(len(p.all_prompts))
    step = 0 if p.subseed_strength else 1
    p.all_seeds = seed if isinstance(seed, list) else [int(seed) + i * step for i in count]
    p.all_subseeds = subseed if isinstance(subseed, list) else [int(subseed) + i for i in count]


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    """The batches; then a grid, if there are several pictures."""
    _prepare(p)
    if p.scripts is not None:
        p.scripts.process(p)
    pictures: list[Image.Image] = []
    infotexts: list[str] = []
    with torch.no_grad():
        p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
        state.job_count = p.n_iter if state.job_count == -1 else state.job_count
        for number in range(p.n_iter):
            p.iteration, state.skipped = number, False
            if state.stopping_generation or state.interrupted:
                break
            batch = _process_batch(p, number)
            pictures += [picture for picture, _ in batch]
            infotexts += [text for _, text in batch]
    infotexts = infotexts or [Processed(p, []).infotext(p, 0)]
    first = _add_grid(p, pictures, infotexts)
    processed = Processed(
        p, pictures, p.all_seeds[0], infotexts[0], p.all_subseeds[0], index_of_first_image=first, infotexts=infotexts
    )
    if p.scripts is not None:
        p.scripts.postprocess(p, processed)
    return processed


def _add_grid(p: StableDiffusionProcessing, pictures: list[Image.Image], infotexts: list[str]) -> int:
    """Puts a grid in front where there are several pictures; tells the index of the first picture."""
    if len(pictures) < 2 or not opts.return_grid or p.do_not_save_grid:
        return 0
    text = create_infotext(p, p.all_prompts, p.all_seeds, p.all_subseeds, use_main_prompt=True)
    grid = images.image_grid(pictures, p.batch_size)
    grid.info["parameters"] = text
    if opts.samples_save:
        images.save_image(grid, p.outpath_grids, "grid", p.all_seeds[0], info=text, p=p)
    pictures.insert(0, grid)
    infotexts.insert(0, text)
    return 1


def _process_batch(p: StableDiffusionProcessing, n: int) -> list[tuple[Image.Image, str]]:
    sd_models.reload_model_weights()  # a refiner's may be loaded
    _take_batch(p, n)
    p.rng = rng.ImageRNG((opt_C, p.height // opt_f, p.width // opt_f), p.seeds, p.subseeds, p.subseed_strength)
    told = {"batch_number": n, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
    if p.scripts is not None:
        p.scripts.before_process_batch(p, **told)
    p.parse_extra_network_prompts()
    if p.scripts is not None:
        p.scripts.process_batch(p, **told)
    p.setup_conds()
    if n == 0 and not cmd_opts.no_prompt_history:
        with open(os.path.join(paths.data_path, "params.txt"), "w", encoding="utf8") as file:
            file.write(Processed(p, []).infotext(p, 0))
    if p.n_iter > 1:
        state.job = f"Batch {n + 1} out of {p.n_iter}"
    apply_alpha_schedule_override(p.sd_model, p)
    seeds = {"seeds": p.seeds, "subseeds": p.subseeds, "subseed_strength": p.subseed_strength}
    with devices.autocast():
        samples = p.sample(conditioning=p.c, unconditional_conditioning=p.uc, prompts=p.prompts, **seeds)
    return _finish_batch(p, n, samples)


def _take_batch(p: StableDiffusionProcessing, n: int) -> None:
    batch = slice(n * p.batch_size, (n + 1) * p.batch_size)
    p.prompts, p.negative_prompts = p.all_prompts[batch], p.all_negative_prompts[batch]
    p.seeds, p.subseeds = p.all_seeds[batch], p.all_subseeds[batch]


def _finish_batch(p: StableDiffusionProcessing, n: int, samples: Tensor) -> list[tuple[Image.Image, str]]:
    """Latents to pictures with their texts; scripts may have a look in between."""
    if p.scripts is not None:
        after = scripts_module.PostSampleArgs(samples)
        p.scripts.post_sample(p, after)
        samples = after.samples
    if torch.isnan(samples).all():
        raise RuntimeError("A tensor with all NaNs was produced in Unet.")
    decoded = latents_to_unit(samples)
    state.nextjob()
    if p.scripts is not None:
        p.scripts.postprocess_batch(p, decoded, batch_number=n)
        _take_batch(p, n)  # what the texts shall show stands in all_prompts by now
    finished = []
    for i, pixels in enumerate(decoded):
        p.batch_index = i
        picture = Image.fromarray((255.0 * np.moveaxis(pixels.numpy(), 0, 2)).astype(np.uint8))
        if p.scripts is not None:
            wrapped = scripts_module.PostprocessImageArgs(picture)
            p.scripts.postprocess_image(p, wrapped)
            picture = wrapped.image
        text = create_infotext(p, p.prompts, p.seeds, p.subseeds, index=i, all_negative_prompts=p.negative_prompts)
        picture.info["parameters"] = text
        if p.save_samples():
            images.save_image(picture, p.outpath_samples, "", p.seeds[i], info=text, p=p)
        finished.append((picture, text))
    return finished


def apply_alpha_schedule_override(model: Any, p: Any = None) -> None:
    """Before each batch's sampling A1111 puts the checkpoint's original noise table back."""
    model.alphas_cumprod = model.alphas_cumprod_original
