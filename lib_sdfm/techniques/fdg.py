"""Frequency-decoupled guidance, arXiv 2506.19713."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..ops.frequencies import enlarge, low_frequencies, shrink
from ..ops.projection import project
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import SDFM
from ..schema.feature import CFG
from ..schema.params import boolean, number

OURS = {"own": True, "recipes": (SDFM,)}


@dataclass(frozen=True)
class FdgSettings:
    """Settings of :class:`Fdg`."""

    ratio: float = number(
        2.0, 0, 50, slider_maximum=6, step=0.01, label="FDG ratio", key="SDFM FDG Ratio", **OURS,
        help="CFG scale of details, as a multiple of the CFG scale used for composition and colours. 2 at CFG 5 or 4 at CFG 3 "
        "is usual; 1: plain CFG.",
    )  # fmt: skip
    project: bool = boolean(
        False, label="FDG with projection", key="SDFM FDG Projection", **OURS,
        help="Removes the saturating part of guidance, as APG does, separately from composition and details.",
    )  # fmt: skip
    hires_ratio: float | None = number(
        None, 0, 50, slider_maximum=6, step=0.01, label="FDG ratio, hires pass", key="SDFM FDG Hires Ratio", follows="ratio",
        help="FDG ratio in the hires pass.", **OURS,
    )  # fmt: skip


class Fdg(Technique):
    """``D = D_u + s * low(G) + s * ratio * high(G)``, where ``G`` is what CFG multiplies with its scale."""

    name, label = "fdg", "FDG"
    title = "Frequency-decoupled guidance (FDG)"
    part = CFG
    summary = (
        "Gives details their own CFG scale: the CFG scale can stay low, for natural colours and variety, and details are still "
        "sharp."
    )
    Settings = FdgSettings
    active_key = "SDFM FDG Active"
    rank = 110
    positions = tuple(range(117, 122))
    recipes = (SDFM,)
    guides_only = True

    def inert(self, hires: bool) -> str | None:
        neutral = self.value("ratio", hires) == 1 and not self.settings.project
        return "with ratio 1 it is plain CFG" if neutral else None

    def condition(self) -> str | None:
        return "a CFG scale above 1"

    def active(self, call: ModelCall) -> bool:
        return True

    def combine(self, prediction: Prediction, call: ModelCall) -> Tensor | None:
        scale, high_scale = prediction.cfg_scale, prediction.cfg_scale * self.value("ratio", call.hires)
        if not call.guides(scale):
            return None
        guidance = prediction.guidance()
        if self.settings.project:
            return self._projected(prediction, guidance, scale, high_scale, call.cfg_unit)
        return prediction.uncond + guidance * high_scale + low_frequencies(guidance) * (scale - high_scale)

    def _projected(self, prediction: Prediction, guidance: Tensor, scale: float, high_scale: float, unit: float) -> Tensor:
        """Return the result with APG's projection in each band (appendix C.2); what CFG 1 adds is left whole."""
        cond = prediction.cond_per_image()
        half, half_cond, size = shrink(guidance), shrink(cond), guidance.shape[-2:]
        low = enlarge(project(half, half_cond, 0.0), *size)
        high = project(guidance - enlarge(half, *size), cond - enlarge(half_cond, *size), 0.0)
        return prediction.uncond + guidance * unit + low * (scale - unit) + high * (high_scale - unit)
