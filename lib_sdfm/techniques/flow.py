"""Flow matching: sampling of rectified-flow checkpoints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..errors import SettingError
from ..sampling.flow import default_end
from ..sampling.model_kind import FLOW
from ..sampling.stages import ModelFacts
from ..schema.feature import MODEL, Feature
from ..schema.params import ADVANCED, Composite, choice, number

ON, OFF, AUTO = MODES = ("On", "Off", "Auto")
KEY = "Flow Matching"
ANY_END = 0.0


@dataclass(frozen=True)
class FlowSettings:
    """Settings of :class:`Flow`."""

    mode: str = choice(
        ON, MODES, label="Flow matching mode", key=KEY, composite=True,
        help="On or off for this picture, or as remembered for the checkpoint (Auto). While this section is closed, Auto "
        "applies.",
    )  # fmt: skip
    shift: float = number(
        3.0, 0.1, 100, slider_maximum=12, step=0.1, label="Flow shift", key="Flow Shift",
        help="Values above 1 spend more steps on high noise: better structure, softer details. bigASP v2.5: 3 to 12, or 1 with "
        "the schedule type Beta.",
    )  # fmt: skip
    end: float = number(
        0.0, 0, 0.5, step=0.01, group=ADVANCED, label="Flow end", key="Flow End",
        help="Lower limit for the time of the last step; times run from 1 (pure noise) to 0. 0: chosen to suit the sampler.",
    )  # fmt: skip
    hires_end: float | None = number(
        None, 0, 0.5, step=0.01, label="Flow end, hires pass", key="Flow Hires End", own=True, follows="end",
        help="Flow end in the hires pass.",
    )  # fmt: skip


def _encode(settings: FlowSettings) -> str:
    return settings.mode


def _decode(text: str) -> dict[str, str]:
    if text not in MODES:
        raise SettingError(KEY, text, "one of " + ", ".join(MODES))
    return {"mode": text}


class Flow(Feature):
    """Declaration of the model as a flow model. The hosts' ``model_kind.py`` and ``kind_pass.py`` sample it as one."""

    name, label = "flow", "Flow matching"
    title = "Flow matching (rectified-flow checkpoints)"
    summary = (
        "For SDXL checkpoints trained with flow matching, such as bigASP v2.5, whose pictures are ruined without it. Works "
        "with every sampler. While this section is closed, the kind remembered for the checkpoint applies."
    )
    part = MODEL
    Settings = FlowSettings
    active_key = KEY
    rank = 80
    positions = tuple(range(100, 106))
    composites = (Composite(KEY, _encode, _decode),)

    @classmethod
    def implied(cls, model: ModelFacts) -> FlowSettings | None:
        return cls.resolved(FlowSettings(mode=AUTO), model)

    @classmethod
    def resolved(cls, settings: FlowSettings, model: ModelFacts) -> FlowSettings | None:
        """Resolve Auto and the ends of the schedules; they are written, so that the picture can be reproduced anywhere."""
        if model.asked_kind not in (None, FLOW):
            return None
        is_flow = model.flow_shift is not None or model.asked_kind == FLOW
        is_on = settings.mode == ON or (settings.mode == AUTO and is_flow)
        if not is_on:  # worth a word only where it would be on by itself
            return None if model.flow_shift is None else dataclasses.replace(settings, mode=OFF)
        shift = settings.shift if settings.mode == ON else model.flow_shift or settings.shift
        end = settings.end or default_end(model.sampler, shift)
        hires_end = settings.hires_end
        if hires_end is None and not settings.end and model.hires_sampler is not None:  # what suits that one may differ
            hires_end = ANY_END if default_end(model.hires_sampler, shift) != end else None
        return FlowSettings(ON, shift, round(end, 6), hires_end)

    def inert(self, hires: bool) -> str | None:
        return None if self.settings.mode == ON else f"the mode is {self.settings.mode}"
