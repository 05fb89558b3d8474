"""MaHiRo, also called positive-biased guidance, by yoinked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import UnsupportedError
from ..ops.guidance import positive_biased
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import SDFM
from ..schema.feature import CFG, Feature
from .cfgpp import CfgPlusPlus


@dataclass(frozen=True)
class MahiroSettings:
    """No settings."""


class Mahiro(Technique):
    """``D = k * D_cfg + (1 - k) * s * D_c``; ``k``, 0 to 1, is how much CFG's result agrees with ``D_u``, per image."""

    name, label = "mahiro", "MaHiRo"
    title = "MaHiRo (positive-biased guidance)"
    part = CFG
    summary = (
        "Leans towards the conditional prediction where CFG and the negative prompt disagree: follows the prompt more closely, "
        "with more contrast. For CFG 4 to 7."
    )
    Settings = MahiroSettings
    active_key = "SDFM MaHiRo"
    rank = 130
    positions = (124,)
    recipes = (SDFM,)
    guides_only = True

    def conflict(self, other: Feature) -> str | None:
        if isinstance(other, CfgPlusPlus):
            return "MaHiRo fades the picture at scales below 1, which CFG++ uses"
        return super().conflict(other)

    def condition(self) -> str | None:
        return "a CFG scale above 1"

    def active(self, call: ModelCall) -> bool:
        """Return True.

        :raises UnsupportedError: if the sampler's scale is CFG++'s lambda
        """
        if call.cfg_unit < 1:
            raise UnsupportedError(
                "MaHiRo: this sampler uses CFG++, at whose low scales MaHiRo fades the picture. Choose another sampler"
            )
        return True

    def combine(self, prediction: Prediction, call: ModelCall) -> Tensor | None:
        scale = prediction.cfg_scale
        if not call.guides(scale):
            return None
        guided = prediction.uncond + prediction.guidance() * scale
        return positive_biased(guided, prediction.cond_per_image(), prediction.uncond, scale)
