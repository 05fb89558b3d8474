"""CFG scale by a schedule and within an interval of noise levels, arXiv 2404.07724 and 2404.13040."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import SettingError
from ..ops.schedules import CONSTANT, INTERVAL, SCHEDULES, edm_noise_level, nearest_edm_noise_level
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.stages import ORIGINAL, SDFM
from ..schema.feature import CFG
from ..schema.params import WHEN, choice, number

NO_UPPER_END = 100.0
EVERYWHERE = (0.0, math.inf)
PAPER_INTERVAL = (0.28, 5.42)
ORIGINAL_STEP_INTERVAL = (0.25, 5.42)
OURS = {"own": True, "recipes": (SDFM,)}


@dataclass(frozen=True)
class CfgScheduleSettings:
    """Settings of :class:`CfgSchedule`."""

    schedule: str = choice(
        CONSTANT, tuple(SCHEDULES), panel_first=INTERVAL, label="CFG schedule type", key="CFG Interval Schedule",
        axis="[PAG] CFG Schedule Type",
        help="How the CFG scale changes during sampling. Interval: constant between the noise levels of the paper, 0.28 and "
        "5.42.",
    )  # fmt: skip
    low: float = number(
        0.0, 0, 100, step=0.01, place=WHEN, label="CFG noise interval low", key="CFG Interval Low",
        axis="[PAG] CFG Noise Interval Low",
        help="Below this noise level (sigma) the CFG scale is 1. 0.28 is the paper's value; 0: no lower limit.",
    )  # fmt: skip
    high: float = number(
        100.0, 0, 100, step=0.01, place=WHEN, label="CFG noise interval high", key="CFG Interval High",
        axis="[PAG] CFG Noise Interval High", help="Above this noise level (sigma) the CFG scale is 1. 5.42 is the paper's "
        "value; 100: no upper limit.",
    )  # fmt: skip
    hires_schedule: str | None = choice(
        None, tuple(SCHEDULES), label="CFG schedule type, hires pass", key="CFG Interval Hires Schedule", follows="schedule",
        help="How the CFG scale changes during the hires pass.", **OURS,
    )  # fmt: skip
    hires_low: float | None = number(
        None, 0, 100, step=0.01, label="CFG noise interval low, hires pass", key="CFG Interval Hires Low", follows="low",
        help="Below this noise level (sigma) the CFG scale is 1 in the hires pass. 0: no lower limit.", **OURS,
    )  # fmt: skip
    hires_high: float | None = number(
        None, 0, 100, step=0.01, label="CFG noise interval high, hires pass", key="CFG Interval Hires High", follows="high",
        help="Above this noise level (sigma) the CFG scale is 1 in the hires pass. 100: no upper limit.", **OURS,
    )  # fmt: skip


class CfgSchedule(Technique):
    """Schedule of the CFG scale; 1 outside the interval."""

    name, label = "cfg_schedule", "CFG schedule"
    title = "CFG schedule and interval"
    part = CFG
    summary = (
        "Raises or lowers the CFG scale during sampling, or limits it to a range of noise levels, so that a high scale acts "
        "only where it helps (SDXL: CFG 15 between noise levels 0.28 and 5.42)."
    )
    Settings = CfgScheduleSettings
    active_key = "CFG Interval Enable"
    active_axis = "[PAG] Enable CFG Scheduler"
    rank = 50
    positions = (*range(28, 32), *range(74, 78))
    replaces_cfg = True

    @classmethod
    def check(cls, settings: CfgScheduleSettings, recipe: str) -> None:
        for hires in (False, True) if recipe != ORIGINAL else ():  # the old extension swapped them
            low, high = (cls(settings, recipe).value(name, hires) for name in ("low", "high"))
            if low > high:
                key = "CFG Interval Hires Low" if hires and settings.hires_low is not None else "CFG Interval Low"
                raise SettingError(key, low, f"a number up to the upper end of the interval, {high:g}")

    def inert(self, hires: bool) -> str | None:
        if self.recipe == ORIGINAL or self.value("schedule", hires) != CONSTANT:
            return None
        everything = self.value("low", hires) == 0 and self.value("high", hires) == NO_UPPER_END
        return "a constant schedule without an interval is plain CFG" if everything else None

    def active(self, call: ModelCall) -> bool:
        return True

    def needs_level(self) -> bool:
        ends = [self._interval(self.value("schedule", hires), hires) for hires in (False, True)]
        return self.recipe != ORIGINAL and any(interval != EVERYWHERE for interval in ends)

    def guidance_scale(self, scale: float, call: ModelCall) -> float:
        if self.recipe == ORIGINAL:
            return self._original_scale(call)
        schedule = self.value("schedule", call.hires)
        low, high = self._interval(schedule, call.hires)
        if (low, high) != EVERYWHERE and not low <= call.sigma <= high:
            return call.cfg_unit
        plain = scale / call.cfg_unit  # schedules clamp to CFG scales, not to what a sampler makes of them
        return SCHEDULES[schedule](plain, min(call.index / call.steps, 1.0)) * call.cfg_unit

    def _interval(self, schedule: str, hires: bool) -> tuple[float, float]:
        low, high = self.value("low", hires), self.value("high", hires)
        high = math.inf if high == NO_UPPER_END else high
        if schedule == INTERVAL:
            low, high = max(low, PAPER_INTERVAL[0]), min(high, PAPER_INTERVAL[1])
        return low, high

    def _original_scale(self, call: ModelCall) -> float:
        """Return incantations' scale: by a formula's noise levels, ignoring the sampler's multiplier of CFG, and without the
        interval if the schedule is constant."""
        place, steps, scale = call.host.lagging, call.host.job_steps, call.host.job_cfg_scale
        if self.settings.schedule == CONSTANT:
            return scale
        ends = sorted(nearest_edm_noise_level(end, steps) for end in (self.settings.low, self.settings.high))
        if not ends[0] <= edm_noise_level(place, steps) <= ends[1]:
            return 1.0
        if self.settings.schedule == INTERVAL:
            first, last = ORIGINAL_STEP_INTERVAL
            return scale if first <= place <= last else 1.0
        return SCHEDULES[self.settings.schedule](scale, place / steps)
