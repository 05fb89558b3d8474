"""Token perturbation guidance, arXiv 2506.10036."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..ops.guidance import rescale_term
from ..ops.tokens import permute_tokens, token_order
from ..planning.technique import Technique
from ..sampling.layers import DEEP, parse_layers
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import SDFM, Perturbation
from ..schema import window
from ..schema.feature import PERTURBED
from ..schema.layer_names import SUGGESTED_LAYERS
from ..schema.params import ADVANCED, STRENGTH, number, text

KEY = "SDFM TPG"
OURS = {"own": True, "recipes": (SDFM,)}


@dataclass(frozen=True)
class TpgSettings:
    """Settings of :class:`Tpg`."""

    scale: float = number(
        3.0, 0, 100, slider_maximum=20, step=0.5, place=STRENGTH, label="TPG scale", key="SDFM TPG Scale",
        help="Strength: how far the picture moves away from the prediction with shuffled tokens. 0: off; 1 to 4 is usual.",
        **OURS,
    )  # fmt: skip
    start_step: int = window.start_step("TPG", key=KEY)
    end_step: int = window.end_step("TPG", key=KEY)
    sigma_from: float = window.sigma_from("TPG", key=KEY)
    sigma_to: float = window.sigma_to("TPG", key=KEY)
    layers: str = text(
        DEEP, parse_layers, group=ADVANCED, suggestions=SUGGESTED_LAYERS, label="TPG layers", key="SDFM TPG Layers", **OURS,
        help="Transformer blocks whose tokens are shuffled, written as for PAG. deep: the last 18 of the encoder, as in the "
        "paper (SD1.5: input.7 and input.8).",
    )  # fmt: skip
    rescale: float = number(
        0.0, 0, 1, step=0.05, group=ADVANCED, label="TPG rescale", key="SDFM TPG Rescale", **OURS,
        help="Pulls the picture's contrast back to that of the conditional prediction. 0: off; 1: strongest.",
    )  # fmt: skip
    hires_scale: float | None = number(
        None, 0, 100, slider_maximum=20, step=0.5, label="TPG scale, hires pass", key="SDFM TPG Hires Scale",
        follows="scale", help="TPG scale in the hires pass.", **OURS,
    )  # fmt: skip
    hires_start_step: int | None = window.hires_start_step("TPG", key=KEY)
    hires_end_step: int | None = window.hires_end_step("TPG", key=KEY)
    hires_rescale: float | None = number(
        None, 0, 1, step=0.05, label="TPG rescale, hires pass", key="SDFM TPG Hires Rescale",
        follows="rescale", help="TPG rescale in the hires pass.", **OURS,
    )  # fmt: skip


class Tpg(Technique):
    """``D += scale * (cond - perturbed)``; in the perturbed prediction tokens are shuffled before chosen transformer blocks.

    Orders come from a generator of their own, seeded by the image's seed, the step and the block (the authors take one order
    for all rows from the global generator): the sampler's noise stays what it is, and a batch equals its single images.
    """

    name, label = "tpg", "TPG"
    title = "Token perturbation guidance (TPG)"
    part = PERTURBED
    summary = (
        "Predicts once more with the picture's tokens shuffled in the encoder and steers away from the result. Acts more like "
        "CFG than PAG and SEG do, even without a prompt. Costs a whole UNet pass per image, where PAG and SEG cost about two "
        "thirds of one."
    )
    Settings = TpgSettings
    active_key = "SDFM TPG Active"
    rank = 160
    positions = tuple(range(152, 165))
    recipes = (SDFM,)

    def passes(self, hires: bool) -> int:
        return 1

    def inert(self, hires: bool) -> str | None:
        return "its scale is 0" if self.value("scale", hires) == 0 else None

    def active(self, call: ModelCall) -> bool:
        return self.in_window(call) and self.in_noise_window(call) and self.value("scale", call.hires) > 0

    def needs_level(self) -> bool:
        return self.limits_noise()

    def perturbation(self, call: ModelCall) -> Perturbation:
        def shuffle(tokens: Tensor, images: Sequence[int], block: str) -> Tensor:
            count = tokens.shape[1]
            orders = {image: token_order(count, seed_of(call, image), call.index, block) for image in set(images)}
            return permute_tokens(tokens, torch.stack([orders[image] for image in images]).to(tokens.device))

        return Perturbation(parse_layers(self.settings.layers), tokens=shuffle)

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        scale = self.value("scale", call.hires) * call.scale_multiplier
        term = prediction.sum_per_image(prediction.perturbed_terms(self.name, scale))
        return denoised + rescale_term(term, prediction.cond_per_image(), denoised, self.value("rescale", call.hires))


def seed_of(call: ModelCall, image: int) -> int:
    """Return an image's seed.

    :raises UnsupportedError: if the host doesn't tell it
    """
    if image >= len(call.seeds):
        raise UnsupportedError("TPG: the seeds of this batch are unknown, so its pictures could not be reproduced")
    return call.seeds[image]
