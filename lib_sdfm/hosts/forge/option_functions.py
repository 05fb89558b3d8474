"""Functions in Forge's options: patches of the main prediction, and other extensions' functions in CFG's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .denoiser_call import DenoiserCall

CurrentCall = Callable[[], DenoiserCall | None]
"""Returns the denoiser call in progress; ``None`` outside of one."""


def skip_patch(current: CurrentCall) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return a function for ``output_block_patch`` that edits decoder features as the call's techniques do."""

    def edit(h: Tensor, skip: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor]:
        call = current()
        if call is None or not call.begun:
            return h, skip
        call.decoder_ran = True
        for technique in call.skip_editors:
            h, skip = technique.skip(h, skip, call.base_width, call=call.model_call)
        return h, skip

    return edit


def attention_patch(current: CurrentCall) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """Return a function for ``attn1_patch`` that changes self-attention of the main prediction as the call's techniques do."""

    def change(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        call = current()
        for patches in call.query_patches if call else ():
            n, context, value = patches.functions()["attn1_patch"](n, context, value, extra)
        return n, context, value

    return change


def cfg_of_function(function: Callable[[dict[str, Any]], Tensor], args: dict[str, Any], scale: float) -> Tensor:
    """Return what another extension's ``sampler_cfg_function`` gives in CFG's place, a denoised image.

    :param args: the arguments of a post-CFG function
    """
    x, cond, uncond = args["input"], args["cond_denoised"], args["uncond_denoised"]
    given = {"cond": x - cond, "uncond": x - uncond, "cond_scale": scale, "timestep": args["sigma"]}
    return x - function({**args, **given})
