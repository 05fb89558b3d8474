"""Dynamic thresholding (mimic scale), after mcmonkey's extension and Saharia et al. (arXiv 2205.11487, section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..ops.thresholding import AD, CONSTANT, CURVES, CURVES_WITH_VALUE, MEAN, STD, ZERO, mimic, scheduled_scale
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import ORIGINAL, SDFM
from ..schema.feature import CFG
from ..schema.params import ADVANCED, boolean, choice, number

MODES = tuple(CURVES)
SCHEDULES = "Schedules"


def _mimic_varies(settings: DynamicThresholdingSettings) -> bool:
    return not {settings.mimic_mode, settings.hires_mimic_mode} <= {CONSTANT, None}


def _cfg_varies(settings: DynamicThresholdingSettings) -> bool:
    return not {settings.cfg_mode, settings.hires_cfg_mode} <= {CONSTANT, None}


def _value_counts(settings: DynamicThresholdingSettings) -> bool:
    modes = (settings.mimic_mode, settings.cfg_mode, settings.hires_mimic_mode, settings.hires_cfg_mode)
    return any(mode in CURVES_WITH_VALUE for mode in modes)


MIMIC_SCHEDULE = {"group": SCHEDULES, "written_if": _mimic_varies}
CFG_SCHEDULE = {"group": SCHEDULES, "written_if": _cfg_varies}
OURS = {"own": True, "recipes": (SDFM,)}


@dataclass(frozen=True)
class DynamicThresholdingSettings:
    """Settings of :class:`DynamicThresholding`."""

    mimic_scale: float = number(
        7.0, 0, 100, slider_maximum=30, step=0.5, label="Mimic scale", key="Mimic scale",
        axis="[DynThres] Mimic Scale", axis_off=0.0,
        help="CFG scale whose contrast the picture gets, while the actual CFG scale decides its content. 7 is usual.",
    )  # fmt: skip
    separate_channels: bool = boolean(
        True, group=ADVANCED, label="Separate feature channels", key="Separate Feature Channels",
        axis="[DynThres] Separate Feature Channels",
        help="Limits each channel of the latent separately. Off: one limit per image (as the old extensions: per batch).",
    )  # fmt: skip
    startpoint: str = choice(
        MEAN, (MEAN, ZERO), group=ADVANCED, label="Scaling startpoint", key="Scaling Startpoint",
        axis="[DynThres] Scaling Startpoint",
        help="Centre around which values are scaled: the mean of each channel, or zero.",
    )  # fmt: skip
    measure: str = choice(
        AD, (AD, STD), group=ADVANCED, label="Variability measure", key="Variability Measure",
        axis="[DynThres] Variability Measure",
        help="How the spread of values is measured. AD: largest absolute deviation from the mean; STD: standard deviation.",
    )  # fmt: skip
    phi: float = number(
        1.0, 0, 1, step=0.01, label="Interpolate phi", key="Interpolate Phi", axis="[DynThres] Interpolate Phi",
        help="Blends plain CFG (0) with the thresholded result (1).",
    )  # fmt: skip
    percentile: float = number(
        100.0, 0, 100, step=0.05, group=ADVANCED, label="Threshold percentile", key="Threshold percentile",
        axis="[DynThres] Threshold Percentile",
        help="Clamps values that deviate more than this percentile (with AD only). 90 to 100 is usual.",
    )  # fmt: skip
    mimic_mode: str = choice(
        CONSTANT, MODES, label="Mimic mode", key="Mimic mode", axis="[DynThres] Mimic Scheduler", **MIMIC_SCHEDULE,
        help="How the mimic scale changes during sampling.",
    )  # fmt: skip
    mimic_minimum: float = number(
        0.0, 0, 100, slider_maximum=30, step=0.5, label="Mimic scale minimum", key="Mimic scale minimum",
        axis="[DynThres] Mimic minimum", **MIMIC_SCHEDULE, help="Lowest mimic scale in any mode but Constant.",
    )  # fmt: skip
    cfg_mode: str = choice(
        CONSTANT, MODES, label="CFG mode", key="CFG mode", axis="[DynThres] CFG Scheduler", **CFG_SCHEDULE,
        help="How the CFG scale changes during sampling.",
    )  # fmt: skip
    cfg_minimum: float = number(
        0.0, 0, 100, slider_maximum=30, step=0.5, label="CFG scale minimum", key="CFG scale minimum",
        axis="[DynThres] CFG minimum", **CFG_SCHEDULE, help="Lowest CFG scale in any mode but Constant.",
    )  # fmt: skip
    value: float = number(
        4.0, 0, 100, slider_maximum=40, step=0.5, label="Scheduler value", key="Scheduler value",
        axis="[DynThres] Scheduler value", aliases=("Power scheduler value",), group=SCHEDULES, written_if=_value_counts,
        help="Exponent of the Power modes; number of repetitions in the Repeating and Sawtooth modes.",
    )  # fmt: skip
    hires_mimic_scale: float | None = number(
        None, 0, 100, slider_maximum=30, step=0.5, label="Mimic scale, hires pass", key="DynThres Hires Mimic Scale",
        follows="mimic_scale", help="Mimic scale in the hires pass.", **OURS,
    )  # fmt: skip
    hires_phi: float | None = number(
        None, 0, 1, step=0.01, label="Interpolate phi, hires pass", key="DynThres Hires Phi", follows="phi",
        help="Blends plain CFG (0) with the thresholded result (1) in the hires pass.", **OURS,
    )  # fmt: skip
    hires_percentile: float | None = number(
        None, 0, 100, step=0.05, label="Threshold percentile, hires pass", key="DynThres Hires Percentile",
        follows="percentile", help="Threshold percentile in the hires pass.", **OURS,
    )  # fmt: skip
    hires_mimic_mode: str | None = choice(
        None, MODES, label="Mimic mode, hires pass", key="DynThres Hires Mimic Mode", follows="mimic_mode",
        help="How the mimic scale changes during the hires pass, down to the same minimum.", **OURS,
    )  # fmt: skip
    hires_cfg_mode: str | None = choice(
        None, MODES, label="CFG mode, hires pass", key="DynThres Hires CFG Mode", follows="cfg_mode",
        help="How the CFG scale changes during the hires pass, down to the same minimum.", **OURS,
    )  # fmt: skip


class DynamicThresholding(Technique):
    """CFG with the value range of a smaller CFG scale. PAG and SEG are added afterwards (recipe sdfm)."""

    name, label = "dynamic_thresholding", "Dynamic thresholding"
    title = "Dynamic thresholding (mimic scale)"
    part = CFG
    summary = (
        "Keeps the contrast of a low CFG scale while a high one decides the content, so that colours burn less at high CFG. "
        "Works with every sampler."
    )
    Settings = DynamicThresholdingSettings
    active_key = "Dynamic thresholding enabled"
    rank = 20
    positions = (*range(32, 44), *range(78, 84))

    def inert(self, hires: bool) -> str | None:
        plain = self.value("phi", hires) == 0 and self.value("cfg_mode", hires) == CONSTANT
        return "with phi 0 the result is plain CFG" if plain else None

    def condition(self) -> str | None:
        sharpens = self.settings.startpoint == ZERO and self.settings.measure == AD and self.settings.percentile < 100
        varies = _mimic_varies(self.settings) or _cfg_varies(self.settings)
        return None if sharpens or varies else "a CFG scale other than the mimic scale"

    def active(self, call: ModelCall) -> bool:
        """Return True if active; the original left out the hires pass if a sampler was chosen for it."""
        return not (self.recipe == ORIGINAL and call.hires and call.host.hires_sampler)

    def needs_uncond(self, call: ModelCall) -> bool:
        return True

    def combine(self, prediction: Prediction, call: ModelCall) -> Tensor:
        chosen = self.settings
        mimic_scale = self._scheduled("mimic", self.value("mimic_scale", call.hires), call)
        cfg_scale = self.combined_scale(prediction.cfg_scale, call)
        relative = prediction.guidance()
        # the mimic scale is a CFG scale: what the sampler multiplies that with counts for both
        result = mimic(
            prediction.uncond, relative, cfg_scale, mimic_scale * call.scale_multiplier, startpoint=chosen.startpoint,
            measure=chosen.measure, quantile=self.value("percentile", call.hires) / 100, dims=self._dims(),
        )  # fmt: skip
        return blend(prediction.uncond + relative * cfg_scale, result, self.value("phi", call.hires))

    def combined_scale(self, scale: float, call: ModelCall) -> float:
        return self._scheduled("cfg", scale, call)

    def _scheduled(self, which: str, scale: float, call: ModelCall) -> float:
        """Return the mimic or the CFG scale at a step."""
        minimum, mode = getattr(self.settings, f"{which}_minimum"), self.value(f"{which}_mode", call.hires)
        return scheduled_scale(scale, minimum, mode, self.settings.value, self._time(call))

    def _time(self, call: ModelCall) -> float:
        """Return the time of a step; recipe original counts denoiser calls, two per step for second-order samplers."""
        if self.recipe != ORIGINAL:
            return call.fraction
        return call.host.call / (call.host.calls - 1) if call.host.calls > 1 else 0.0

    def _dims(self) -> tuple[int, ...]:
        if self.settings.separate_channels:
            return (2, 3)
        return (0, 1, 2, 3) if self.recipe == ORIGINAL else (1, 2, 3)


def blend(plain: Tensor, thresholded: Tensor, share: float) -> Tensor:
    """Return ``share`` of the second plus the rest of the first; exactly the second at 1."""
    return thresholded if share == 1.0 else thresholded * share + plain * (1.0 - share)
