"""Smoothed energy guidance, arXiv 2408.00760."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..ops.blur import blur_matrices, blur_tokens, kernel_size, mean_tokens
from ..planning.technique import Technique
from ..sampling.layers import parse_layers
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import ORIGINAL, SDFM, Perturbation
from ..schema import window
from ..schema.feature import PERTURBED
from ..schema.layer_names import SUGGESTED_LAYERS
from ..schema.params import ADVANCED, STRENGTH, number, text

INFINITE_ABOVE = 10.5
OURS = {"own": True, "recipes": (SDFM,)}


@dataclass(frozen=True)
class SegSettings:
    """Settings of :class:`Seg`."""

    blur: float = number(
        11.0, 0, 100, slider_maximum=11, step=0.5, label="SEG blur", key="SEG Blur Sigma", axis="[SEG] SEG Blur Sigma",
        help="Width of the blur, doubling with each unit. 11 is usual; above 10.5 the blur is infinite.",
    )  # fmt: skip
    start_step: int = window.start_step("SEG")
    end_step: int = window.end_step("SEG")
    sigma_from: float = window.sigma_from("SEG", key="SEG", recipes=(SDFM,))
    sigma_to: float = window.sigma_to("SEG", key="SEG", recipes=(SDFM,))
    scale: float = number(
        3.0, 0, 100, slider_maximum=20, step=0.5, place=STRENGTH, label="SEG scale", key="SEG Scale", **OURS,
        help="Strength: how far the picture moves away from the prediction with blurred attention. 0: off; 3 is usual (as the "
        "old extensions: the CFG scale counts instead).",
    )  # fmt: skip
    layers: str = text(
        "middle", parse_layers, group=ADVANCED, suggestions=SUGGESTED_LAYERS, label="SEG layers", key="SEG Layers", **OURS,
        help="Transformer blocks whose self-attention is blurred, written as for PAG. As the old extensions: always middle.",
    )  # fmt: skip
    hires_blur: float | None = number(
        None, 0, 100, slider_maximum=11, step=0.5, label="SEG blur, hires pass", key="SEG Hires Blur Sigma", own=True,
        follows="blur", help="SEG blur in the hires pass.",
    )  # fmt: skip
    hires_start_step: int | None = window.hires_start_step("SEG")
    hires_end_step: int | None = window.hires_end_step("SEG")
    hires_scale: float | None = number(
        None, 0, 100, slider_maximum=20, step=0.5, label="SEG scale, hires pass", key="SEG Hires Scale",
        follows="scale", help="SEG scale in the hires pass.", **OURS,
    )  # fmt: skip


class Seg(Technique):
    """``D += scale * (cond - blurred)``; in recipe original the unconditional rows themselves are predicted with the blur."""

    name, label = "seg", "SEG"
    title = "Smoothed energy guidance (SEG)"
    part = PERTURBED
    summary = (
        "Predicts once more with self-attention blurred in the middle of the UNet and steers away from the result, as PAG "
        "does. As the old extensions: blurs the unconditional prediction instead, which costs nothing but needs CFG above 1."
    )
    Settings = SegSettings
    active_key = "SEG Active"
    active_axis = "[SEG] Active"
    rank = 30
    positions = (*range(17, 21), 167, 168, *range(21, 28))

    def __init__(self, settings: SegSettings, recipe: str) -> None:
        super().__init__(settings, recipe)
        self._known: dict[tuple, tuple[Tensor, Tensor]] = {}

    def recorded(self) -> bool:
        return self.recipe == SDFM or self.settings.blur > 0

    def passes(self, hires: bool) -> int:
        return 0 if self.recipe == ORIGINAL else 1

    def inert(self, hires: bool) -> str | None:
        if self.recipe == ORIGINAL:
            return "in the old extension, a blur of 0 turns it off" if self.value("blur", hires) == 0 else None
        return "its scale is 0" if self.value("scale", hires) == 0 else None

    def condition(self) -> str | None:
        return "a CFG scale other than 1, which is its strength" if self.recipe == ORIGINAL else None

    def active(self, call: ModelCall) -> bool:
        return self.in_window(call) and self.in_noise_window(call)

    def needs_level(self) -> bool:
        return self.limits_noise()

    def needs_uncond(self, call: ModelCall) -> bool:
        return self.recipe == ORIGINAL

    def perturbation(self, call: ModelCall) -> Perturbation | None:
        if self.recipe == ORIGINAL:
            return None
        return Perturbation(parse_layers(self.settings.layers), query=self._blur(call, square_kernel=False))

    def main_perturbation(self, call: ModelCall) -> Perturbation | None:
        if self.recipe != ORIGINAL:
            return None
        return Perturbation(parse_layers("middle"), query=self._blur(call, square_kernel=True))

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        if self.name not in prediction.perturbed:
            return denoised
        scale = self.value("scale", call.hires) * call.scale_multiplier
        return denoised + prediction.sum_per_image(prediction.perturbed_terms(self.name, scale))

    def _blur(self, call: ModelCall, square_kernel: bool) -> Callable[[Tensor, tuple[int, int]], Tensor]:
        exponent = self.value("blur", call.hires)

        def blurred(queries: Tensor, grid: tuple[int, int]) -> Tensor:
            if exponent > INFINITE_ABOVE:
                return mean_tokens(queries)
            return blur_tokens(queries, *self._matrices(2.0**exponent, grid, square_kernel, queries))

        return blurred

    def _matrices(self, sigma: float, grid: tuple[int, int], square_kernel: bool, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the blur matrices of a map, cached per run."""
        key = (sigma, grid, like.dtype, like.device)
        if key not in self._known:
            height, width = grid
            across = kernel_size(sigma, width)  # the old extension cut one kernel for both axes to the width
            down = across if square_kernel else kernel_size(sigma, height)
            self._known[key] = blur_matrices(grid, sigma, (down, across), like)
        return self._known[key]
