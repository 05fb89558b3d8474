"""Adaptive projected guidance, arXiv 2410.02416."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..ops.projection import cap_norm, project
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import SDFM
from ..schema.feature import CFG
from ..schema.params import number

OURS = {"own": True, "recipes": (SDFM,)}


@dataclass(frozen=True)
class ApgSettings:
    """Settings of :class:`Apg`."""

    eta: float = number(
        0.0, 0, 10, slider_maximum=1, step=0.05, label="APG eta", key="SDFM APG Eta", **OURS,
        help="Share of the saturating part of guidance that is kept. 0 is the paper's value; 1 keeps all of it.",
    )  # fmt: skip
    norm_threshold: float = number(
        15.0, 0, 1000, slider_maximum=50, step=0.5, label="APG norm threshold", key="SDFM APG Norm Threshold", **OURS,
        help="Upper limit on how strongly guidance can act in one step. 15 for SDXL, 7.5 for SD1.5, more for larger pictures; "
        "0: no limit.",
    )  # fmt: skip
    momentum: float = number(
        -0.5, -0.95, 0.95, step=0.05, label="APG momentum", key="SDFM APG Momentum", **OURS,
        help="How much guidance of earlier steps is carried over; negative values dampen what repeats from step to step. -0.5 "
        "for SDXL, -0.75 for SD1.5; 0: none.",
    )  # fmt: skip
    hires_norm_threshold: float | None = number(
        None, 0, 1000, slider_maximum=50, step=0.5, label="APG norm threshold, hires pass", key="SDFM APG Hires Norm Threshold",
        follows="norm_threshold", help="Norm threshold in the hires pass; double it where the hires pass doubles width and "
        "height.", **OURS,
    )  # fmt: skip


class Apg(Technique):
    """``D = D_c + (s - 1) * U``, algorithm 1: ``U`` is guidance with momentum, capped, and projected.

    With CFG++ the scale is lambda, in which CFG 1 is 1/12.5: then ``D - D_u`` is 1/12.5 of the paper's at 12.5 times lambda.
    """

    name, label = "apg", "APG"
    title = "Adaptive projected guidance (APG)"
    part = CFG
    summary = (
        "Removes the part of guidance that mainly oversaturates and limits the rest, so that high CFG scales (SDXL: 10 to 15) "
        "don't burn the picture."
    )
    Settings = ApgSettings
    active_key = "SDFM APG Active"
    rank = 100
    positions = tuple(range(111, 117))
    recipes = (SDFM,)
    guides_only = True

    def inert(self, hires: bool) -> str | None:
        neutral = self.settings.eta == 1 and self.settings.momentum == 0 and self.value("norm_threshold", hires) == 0
        return "with eta 1, norm threshold 0 and momentum 0 it is plain CFG" if neutral else None

    def condition(self) -> str | None:
        return "a CFG scale above 1"

    def active(self, call: ModelCall) -> bool:
        return True

    def needs_level(self) -> bool:
        return self.settings.momentum != 0

    def combine(self, prediction: Prediction, call: ModelCall) -> Tensor | None:
        scale, unit = prediction.cfg_scale, call.cfg_unit
        if not call.guides(scale):
            return None
        guidance = prediction.guidance()
        capped = cap_norm(self._with_momentum(guidance, call), self.value("norm_threshold", call.hires))
        update = project(capped, prediction.cond_per_image(), self.settings.eta)
        return prediction.uncond + guidance * unit + update * (scale - unit)

    def _with_momentum(self, guidance: Tensor, call: ModelCall) -> Tensor:
        """Return guidance plus a share of that of the step before, and keep it for the next.

        Where the noise level rises (Restart) it begins anew: guidance of a less noisy latent is another one.
        """
        if self.settings.momentum == 0:
            return guidance
        before = None if call.rises(f"{self.name}.level") else call.previous(self.name)
        running = guidance if before is None else guidance + before * self.settings.momentum
        call.keep(self.name, running)
        return running
