"""The CFG denoiser: one call of it is one model call of the sampler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modules import prompt_parser, sd_samplers_common, shared
from modules.conditions import ConditionDict, joined, rows_from
from modules.script_callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    cfg_after_cfg_callback,
    cfg_denoised_callback,
    cfg_denoiser_callback,
)
from modules.shared import opts, state


def _condition(text: Any, concat: Tensor) -> dict[str, Any]:
    return {**(text if isinstance(text, dict) else {"c_crossattn": [text]}), "c_concat": [concat]}


class CFGDenoiser(torch.nn.Module):
    """Rows of the batch: the prompts' picture by picture, then one negative prompt per picture."""

    def __init__(self, sampler: Any) -> None:
        super().__init__()
        self.sampler = sampler
        self.model_wrap = None
        self.p = None
        self.mask = self.nmask = self.init_latent = None
        self.steps: int | None = None
        self.total_steps: int | None = None
        self.step = 0
        self.padded_cond_uncond = False
        self.cond_scale_miltiplier = 1.0
        self.need_last_noise_uncond = False
        self.last_noise_uncond: Tensor | None = None
        self.mask_before_denoising = False

    @property
    def inner_model(self) -> Any:
        raise NotImplementedError

    def combine_denoised(self, x_out: Tensor, conds_list: list, uncond: Any, cond_scale: float) -> Tensor:
        """Classifier-free guidance; the negative prompts' rows are as many as ``uncond`` has."""
        of_uncond = x_out[-uncond.shape[0] :]
        denoised = of_uncond.clone()
        for image, conds in enumerate(conds_list):
            for row, weight in conds:
                denoised[image] += (x_out[row] - of_uncond[image]) * (weight * cond_scale)
        return denoised

    def get_pred_x0(self, x_in: Tensor, x_out: Tensor, sigma: Tensor) -> Tensor:
        return x_out

    def update_inner_model(self) -> None:
        """After the checkpoint has changed."""
        self.model_wrap = None
        self.sampler.sampler_extra_args["cond"], self.sampler.sampler_extra_args["uncond"] = self.p.get_conds()

    def forward(
        self, x: Tensor, sigma: Tensor, uncond: Any, cond: Any, cond_scale: float, s_min_uncond: float, image_cond: Tensor
    ) -> Tensor:
        if state.skipped or state.interrupted:
            raise sd_samplers_common.InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            cond, uncond = self.sampler.sampler_extra_args["cond"], self.sampler.sampler_extra_args["uncond"]
        conds_list, text = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        text_uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask_before_denoising and self.mask is not None:
            x = self._blend(x)
        params = self._tell_extensions(x, sigma, image_cond, conds_list, text, text_uncond)
        skip_uncond = self._skips_uncond(params.sigma, s_min_uncond)
        x_out = self._predict(params, len(conds_list), skip_uncond)
        first_rows = [conds[0][0] for conds in conds_list]
        if skip_uncond:  # the prompts' rows stand in for the missing ones
            x_out = torch.cat([x_out, x_out[first_rows]])
        cfg_denoised_callback(CFGDenoisedParams(x_out, state.sampling_step, state.sampling_steps, self.inner_model))
        if self.need_last_noise_uncond:
            self.last_noise_uncond = x_out[-params.text_uncond.shape[0] :].clone()
        scale = 1.0 if skip_uncond else cond_scale * self.cond_scale_miltiplier
        denoised = self.combine_denoised(x_out, conds_list, params.text_uncond, scale)
        if not self.mask_before_denoising and self.mask is not None:
            denoised = self._blend(denoised)
        self.sampler.last_latent = self.get_pred_x0(params.x[first_rows], x_out[first_rows], sigma)
        after = AfterCFGCallbackParams(denoised, state.sampling_step, state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        return after.x

    def _tell_extensions(
        self, x: Tensor, sigma: Tensor, image_cond: Tensor, conds_list: list, text: Any, text_uncond: Any
    ) -> CFGDenoiserParams:
        """The rows, through the callback that may change them (it does not hear whether uncond will be skipped)."""
        images = [image for image, conds in enumerate(conds_list) for _ in conds] + list(range(len(conds_list)))
        params = CFGDenoiserParams(
            x[images], image_cond[images], sigma[images], state.sampling_step, state.sampling_steps, text, text_uncond, self
        )
        cfg_denoiser_callback(params)
        return params

    def _skips_uncond(self, sigma: Tensor, s_min_uncond: float) -> bool:
        """Return True if this call does without the negative prompts."""
        noted = self.p.extra_generation_params
        if opts.skip_early_cond != 0 and self.step / self.total_steps <= opts.skip_early_cond:
            noted["Skip Early CFG"] = opts.skip_early_cond
            return True
        if (self.step % 2 or opts.s_min_uncond_all) and s_min_uncond > 0 and sigma[0] < s_min_uncond:
            noted["NGMS"] = s_min_uncond
            if opts.s_min_uncond_all:
                noted["NGMS all steps"] = True
            return True
        return False

    def _predict(self, params: CFGDenoiserParams, images: int, skip_uncond: bool) -> Tensor:
        """The model's output for all rows: in one call where the prompts are equally long, else in several."""
        x, sigma, concat = params.x, params.sigma, params.image_cond
        text, text_uncond = self._padded(params.text_cond, params.text_uncond)
        if skip_uncond:
            x, sigma = x[:-images], sigma[:-images]
        together = opts.batch_cond_uncond
        if skip_uncond or text.shape[1] == text_uncond.shape[1]:
            rows = text if skip_uncond else joined([text, text_uncond])
            size = rows.shape[0] if together else images
            portions = _cut(rows, size)
        else:
            size = images * 2 if together else images
            portions = [*_cut(text, size), (text_uncond, text.shape[0])]
        out = torch.zeros_like(x)
        if len(portions) == 1:  # the image conditioning goes along whole, with more rows where uncond is skipped
            return self.inner_model(x, sigma, cond=_condition(portions[0][0], concat))
        for rows, a in portions:
            b = a + rows.shape[0]
            out[a:b] = self.inner_model(x[a:b], sigma[a:b], cond=_condition(rows, concat[a:b]))
        return out

    def _padded(self, text: Any, text_uncond: Any) -> tuple[Any, Any]:
        """With the option, the shorter prompts with empty chunks at their end."""
        self.padded_cond_uncond = False
        if not opts.pad_cond_uncond or text.shape[1] == text_uncond.shape[1]:
            return text, text_uncond
        self.padded_cond_uncond = True
        longest = max(text.shape[1], text_uncond.shape[1])
        return _with_empty_chunks(text, longest), _with_empty_chunks(text_uncond, longest)

    def _blend(self, latent: Tensor) -> Tensor:
        """The picture's own latent where the mask protects it."""
        return latent * self.nmask + self.init_latent * self.mask


def _cut(text: Any, size: int) -> list[tuple[Any, int]]:
    """Portions of so many rows, each with the number of its first row."""
    return [(rows_from(text, slice(a, a + size)), a) for a in range(0, text.shape[0], size)]


def _with_empty_chunks(text: Any, tokens: int) -> Any:
    if isinstance(text, dict):
        return ConditionDict(text, crossattn=_with_empty_chunks(text["crossattn"], tokens))
    empty = shared.sd_model.cond_stage_model_empty_prompt
    missing = (tokens - text.shape[1]) // empty.shape[1]
    return torch.cat([text, empty.repeat(text.shape[0], missing, 1)], 1) if missing > 0 else text
