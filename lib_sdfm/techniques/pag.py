"""Perturbed-attention guidance, arXiv 2403.17377."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..ops.fusion import fuse_over_channels, fuse_over_pixels
from ..ops.guidance import adaptive_scale, rescale_term
from ..planning.technique import Technique
from ..sampling.layers import parse_layers
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import ORIGINAL, SDFM, Perturbation
from ..schema import window
from ..schema.feature import PERTURBED
from ..schema.layer_names import SUGGESTED_LAYERS
from ..schema.params import ADVANCED, STRENGTH, boolean, number, text

ORIGINAL_LAYERS = "middle.0"
OURS = {"own": True, "recipes": (SDFM,)}


@dataclass(frozen=True)
class PagSettings:
    """Settings of :class:`Pag`."""

    sanf: bool = boolean(
        False, group=ADVANCED, label="Saliency-adaptive fusion (SANF)", key="PAG SANF", axis="[PAG] SANF",
        help="At each point of the latent, uses the change from either CFG or PAG, whichever stands out more.",
    )  # fmt: skip
    scale: float = number(
        3.0, 0, 100, slider_maximum=20, step=0.5, place=STRENGTH, label="PAG scale", key="PAG Scale", axis="[PAG] PAG Scale",
        help="Strength: how far the picture moves away from the prediction without self-attention. 0: off; 1 to 4 is usual.",
    )  # fmt: skip
    start_step: int = window.start_step("PAG")
    end_step: int = window.end_step("PAG")
    sigma_from: float = window.sigma_from("PAG", key="PAG", recipes=(SDFM,))
    sigma_to: float = window.sigma_to("PAG", key="PAG", recipes=(SDFM,))
    layers: str = text(
        "middle", parse_layers, group=ADVANCED, suggestions=SUGGESTED_LAYERS, label="PAG layers", key="PAG Layers", **OURS,
        help="Transformer blocks whose self-attention is disabled: a comma-separated list of input.B, middle, output.B, each "
        "with an optional .T or .T-T (output.3.2-5), or in short d2.2-9, m0, u0.4. As the old extensions: always middle.0.",
    )  # fmt: skip
    adaptive: float = number(
        0.0, 0, 1, step=0.01, group=ADVANCED, label="PAG adaptive", key="PAG Adaptive", **OURS,
        help="Fades PAG out towards the end of sampling. 0: constant strength; 0.1: slight fade; 0.3: ends early.",
    )  # fmt: skip
    rescale: float = number(
        0.0, 0, 1, step=0.05, group=ADVANCED, label="PAG rescale", key="PAG Rescale", **OURS,
        help="Pulls the picture's contrast back to that of the conditional prediction. 0: off; 1: strongest.",
    )  # fmt: skip
    hires_scale: float | None = number(
        None, 0, 100, slider_maximum=20, step=0.5, label="PAG scale, hires pass", key="PAG Hires Scale", own=True,
        follows="scale", help="PAG scale in the hires pass.",
    )  # fmt: skip
    hires_start_step: int | None = window.hires_start_step("PAG")
    hires_end_step: int | None = window.hires_end_step("PAG")
    hires_adaptive: float | None = number(
        None, 0, 1, step=0.01, label="PAG adaptive, hires pass", key="PAG Hires Adaptive",
        follows="adaptive", help="PAG adaptive in the hires pass.", **OURS,
    )  # fmt: skip
    hires_rescale: float | None = number(
        None, 0, 1, step=0.05, label="PAG rescale, hires pass", key="PAG Hires Rescale",
        follows="rescale", help="PAG rescale in the hires pass.", **OURS,
    )  # fmt: skip


class Pag(Technique):
    """``D += scale * (cond - perturbed)``; the perturbed prediction has the identity as its self-attention map."""

    name, label = "pag", "PAG"
    title = "Perturbed-attention guidance (PAG)"
    part = PERTURBED
    summary = (
        "Predicts once more with self-attention disabled in the middle of the UNet, which ruins the composition, and steers "
        "away from the result. Meant to improve structure, even without a prompt or at low CFG."
    )
    Settings = PagSettings
    active_key = "PAG Active"
    active_axis = "[PAG] Active"
    rank = 40
    positions = (*range(3, 8), 165, 166, *range(8, 17))
    replaces_cfg = True

    def passes(self, hires: bool) -> int:
        return 1

    def inert(self, hires: bool) -> str | None:
        return "its scale is 0" if self.value("scale", hires) == 0 else None

    def active(self, call: ModelCall) -> bool:
        return self.in_window(call) and self.in_noise_window(call) and self._scale(call) > 0

    def needs_level(self) -> bool:
        return self.limits_noise() or any(self.value("adaptive", hires) for hires in (False, True))

    def needs_uncond(self, call: ModelCall) -> bool:
        return self.settings.sanf

    def perturbation(self, call: ModelCall) -> Perturbation:
        if self.recipe == ORIGINAL:
            return Perturbation(parse_layers(ORIGINAL_LAYERS), identity=True, project=False)
        return Perturbation(parse_layers(self.settings.layers), identity=True)

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        term = prediction.perturbed_terms(self.name, self._scale(call))
        if self.recipe == ORIGINAL:
            return self._correct_as_original(denoised, prediction, term)
        term = prediction.sum_per_image(term)
        rescale = self.value("rescale", call.hires)
        if rescale:
            term = rescale_term(term, prediction.cond_per_image(), denoised, rescale)
        if self.settings.sanf:
            return prediction.uncond + fuse_over_pixels(denoised - prediction.uncond, term)
        return denoised + term

    def _correct_as_original(self, denoised: Tensor, prediction: Prediction, term: Tensor) -> Tensor:
        if self.settings.sanf:  # incantations fused prompt by prompt, and dropped whatever else had combined CFG
            return prediction.uncond + prediction.sum_per_image(fuse_over_channels(prediction.cfg_terms("PAG with SANF"), term))
        return denoised + prediction.sum_per_image(term)

    def _scale(self, call: ModelCall) -> float:
        scale = self.value("scale", call.hires)
        if self.recipe == ORIGINAL:  # neither faded nor divided by DDIM CFG++
            return scale
        adaptive = self.value("adaptive", call.hires)
        return (adaptive_scale(scale, adaptive, call.timestep) if adaptive else scale) * call.scale_multiplier
