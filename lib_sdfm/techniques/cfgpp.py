"""CFG++, arXiv 2406.08070, for every sampler whose steps are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..errors import SettingError, UnsupportedError
from ..ops.descent import denoised_for_uncond_renoise
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.sampler_record import CFG_OF_LAMBDA_1
from ..sampling.stages import SDFM
from ..schema.feature import CFG
from ..schema.params import Composite, number, plain

KEY = "CFGpp Scale"


@dataclass(frozen=True)
class CfgPlusPlusSettings:
    """Settings of :class:`CfgPlusPlus`."""

    scale: float = number(
        0.6, 0, 2, step=0.05, label="CFG++ scale", key=KEY, composite=True, recipes=(SDFM,),
        help="Replaces the CFG scale (lambda in the paper): 0.6 is about as strong as CFG 7.5, and 1 as CFG 12.5.",
    )  # fmt: skip


def _encode(settings: Any) -> str:
    return str(plain(settings.scale))


def _decode(text: str) -> dict[str, Any]:
    try:
        return {"scale": float(text)}
    except ValueError:
        raise SettingError(KEY, text, "a number from 0 to 2") from None


class CfgPlusPlus(Technique):
    """``D* = D_u + (D_g - D_u) / (1 - r)``; with it the sampler's own step renoises with the unconditional prediction ``D_u``.

    ``D_g`` is the whole guided result with lambda as CFG scale, ``r`` the ratio of the sampler's step.
    """

    name, label = "cfgpp", "CFG++"
    title = "CFG++"
    part = CFG
    summary = (
        "Lets the sampler renoise with the unconditional prediction: low scales and less burnt colours. Its own scale replaces "
        "the CFG scale, and PAG and SEG act about 12 times as strongly: use 0.25 instead of 3."
    )
    Settings = CfgPlusPlusSettings
    active_key = KEY
    rank = 60
    positions = (70, 71)
    recipes = (SDFM,)
    composites = (Composite(KEY, _encode, _decode),)
    needs_ratio = True

    def active(self, call: ModelCall) -> bool:
        return True

    def needs_level(self) -> bool:
        return True

    def needs_uncond(self, call: ModelCall) -> bool:
        return True

    def guidance_scale(self, scale: float, call: ModelCall) -> float:
        return self.settings.scale

    def after_scale(self, call: ModelCall) -> ModelCall:
        return replace(call, cfg_unit=1 / CFG_OF_LAMBDA_1)

    def renoise(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        if call.ratio is None:
            raise UnsupportedError("CFG++: the step lengths of this sampler are unknown")
        if call.ratio >= 1:  # no way down, nothing is renoised
            return denoised
        return denoised_for_uncond_renoise(denoised, prediction.uncond, call.ratio)
