"""FreeU, arXiv 2309.11497, with the controls of sd-webui-freeu: three stages, channel window, cutoff, schedule."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from torch import Tensor

from ..errors import SettingError
from ..ops.freeu import channel_window, filter_skip, scale_backbone, schedule_share
from ..sampling.stages import ORIGINAL, ModelFacts, Technique
from ..sampling.step import Step
from ..schema.params import Composite, boolean, choice, number, plain

STAGES = (1, 2, 3)
WIDTHS = (4, 2, 1)
"""Channels of the stages, in multiples of the UNet's ``model_channels``."""
ORIGINAL_CHANNELS = (1280, 640, 320)
AUTO, CUSTOM = "Auto", "Custom"
PRESETS = {
    "SD1.4": ((1.2, 0.9), (1.4, 0.2)),
    "SD2.1": ((1.1, 0.9), (1.2, 0.2)),
    "SDXL": ((1.1, 0.6), (1.2, 0.4)),
}
"""Backbone and skip factors of the first two stages."""

# name, name in generation parameters, default, smallest, largest, label, label of the original's axis, help
STAGE_FIELDS = (
    ("backbone", "backbone_factor", 1.0, -1, 3, "backbone", "Backbone Scale", "Strengthens backbone features. 1: unchanged."),
    ("skip", "skip_factor", 1.0, -1, 3, "skip", "Skip Scale", "Weakens low frequencies of skip features. 1: unchanged."),
    ("offset", "backbone_offset", 0.0, 0, 1, "backbone offset", "Backbone Offset", "Where the window of channels begins."),
    ("width", "backbone_width", 0.5, 0, 1, "backbone width", "Backbone Width", "Share of the channels that is scaled."),
    ("cutoff", "skip_cutoff", 0.0, 0, 1, "skip cutoff", "Skip Cutoff", "Share of the frequencies that counts as low."),
    ("high", "skip_high_end_factor", 1.0, -1, 3, "skip high end", "Skip High End Scale", "Scales the other frequencies."),
)
OLD_STAGE_NAMES = {"skip_threshold": "skip_cutoff"}


def _stage_fields(stage: int) -> list[tuple[str, type, Any]]:
    fields = []
    for name, _, default, low, high, label, axis, help in STAGE_FIELDS:
        declared = number(
            default, low, high, step=0.01, label=f"FreeU stage {stage} {label}", key=f"FreeU stage {stage} {label}",
            axis=f"[FreeU] Stage {stage} {axis}", composite=True, implies=(("preset", CUSTOM),),
            group=f"Stage {stage}", help=help,
        )  # fmt: skip
        fields.append((f"stage{stage}_{name}", float, declared))
    return fields


FreeuSettings = dataclasses.make_dataclass(
    "FreeuSettings",
    [
        ("preset", str, choice(
            AUTO, (AUTO, *PRESETS, CUSTOM), label="FreeU preset", key="FreeU preset", axis="[FreeU] Preset", composite=True,
            axis_values=tuple((f"{name} Recommendations", name) for name in PRESETS),
            help="Auto: the values for this model (SDXL, or else SD1.4). Custom: the stages below.",
        )),
        ("version", str, choice(
            "2", ("1", "2"), label="FreeU version", key="FreeU Version", axis="[FreeU] Version", absent="1",
            axis_values=(("Version 1", "1"), ("Version 2", "2")),
            help="2 scales the backbone where its features are strong, 1 everywhere.",
        )),
        ("start", float, number(
            0.0, 0, 10000, slider_maximum=1, step=0.01, label="FreeU start", key="FreeU start", composite=True,
            axis="[FreeU] Start At Step", help="Where FreeU begins, as a share of the steps.",
        )),
        ("stop", float, number(
            1.0, 0, 10000, slider_maximum=1, step=0.01, label="FreeU stop", key="FreeU stop", composite=True,
            axis="[FreeU] Stop At Step", help="Where FreeU ends, as a share of the steps.",
        )),
        ("smoothness", float, number(
            0.0, 0, 1, step=0.01, label="FreeU transition smoothness", key="FreeU transition smoothness", composite=True,
            axis="[FreeU] Transition Smoothness", help="0: on from start to stop. 1: swells to the start, fades to the stop.",
        )),
        ("start_in_steps", bool, boolean(
            False, label="FreeU start is a step number", key="FreeU start is a step number", composite=True,
            help="Counts the start in steps instead of as a share of them.",
        )),
        ("stop_in_steps", bool, boolean(
            False, label="FreeU stop is a step number", key="FreeU stop is a step number", composite=True,
            help="Counts the stop in steps instead of as a share of them.",
        )),
        *(field for stage in STAGES for field in _stage_fields(stage)),
    ],
    frozen=True,
)  # fmt: skip
FreeuSettings.__doc__ = """Settings of :class:`FreeU`."""
FreeuSettings.__module__ = __name__


def encode_stages(settings: Any) -> str:
    """The JSON list of the stages: fields that differ from their defaults, without empty stages at the end."""
    stages = [_stage_difference(settings, stage) for stage in STAGES]
    while stages and not stages[-1]:
        stages.pop()
    return json.dumps(stages)


def _stage_difference(settings: Any, stage: int) -> dict[str, Any]:
    values = {known: (getattr(settings, f"stage{stage}_{name}"), default) for name, known, default, *_ in STAGE_FIELDS}
    return {known: plain(value) for known, (value, default) in values.items() if value != default}


def decode_stages(text: str) -> dict[str, Any]:
    """Values of the stages from the JSON list; fields that it leaves out have their defaults.

    :raises SettingError: if it isn't such a list
    """
    allowed = "a list of up to 3 stages, each with any of " + ", ".join(known for _, known, *_ in STAGE_FIELDS)
    try:
        stages = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingError("FreeU Stages", text, allowed) from None
    if not isinstance(stages, list) or len(stages) > len(STAGES) or not all(isinstance(s, dict) for s in stages):
        raise SettingError("FreeU Stages", text, allowed)
    names = {known: name for name, known, *_ in STAGE_FIELDS}
    values: dict[str, Any] = {"preset": CUSTOM}
    for number_, stage in enumerate(stages, start=1):
        for said, value in stage.items():
            name = names.get(OLD_STAGE_NAMES.get(said, said))
            if name is None:
                raise SettingError("FreeU Stages", said, allowed)
            values[f"stage{number_}_{name}"] = value
    return values


def encode_schedule(settings: Any) -> str:
    """``start, stop, smoothness``; whole numbers are steps, others shares."""
    start = int(settings.start) if settings.start_in_steps else float(settings.start)
    stop = int(settings.stop) if settings.stop_in_steps else float(settings.stop)
    return f"{start}, {stop}, {float(settings.smoothness)}"


def decode_schedule(text: str) -> dict[str, Any]:
    """Start, stop and smoothness from the text.

    :raises SettingError: if it isn't three numbers
    """
    allowed = "start, stop and smoothness, three numbers; start and stop are shares (0.0, 1.0) or steps (0, 20)"
    try:
        parts = [json.loads(part) for part in text.split(",")]
        start, stop, smoothness = (None if isinstance(part, bool) else float(part) for part in parts)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise SettingError("FreeU Schedule", text, allowed) from None
    if None in (start, stop, smoothness):
        raise SettingError("FreeU Schedule", text, allowed)
    steps = {"start_in_steps": isinstance(parts[0], int), "stop_in_steps": isinstance(parts[1], int)}
    return {"start": start, "stop": stop, "smoothness": smoothness, **steps}


class FreeU(Technique):
    """Scales backbone features and filters skip features in the decoder."""

    name, label = "freeu", "FreeU"
    title = "FreeU"
    summary = "Strengthens what the decoder knows of the whole and weakens what it is told of details. Costs nothing."
    Settings = FreeuSettings
    active_key = "FreeU Stages"
    active_axis = "[FreeU] Enabled"
    rank = 10
    positions = tuple(range(44, 70))
    composites = (
        Composite("FreeU Stages", encode_stages, decode_stages),
        Composite("FreeU Schedule", encode_schedule, decode_schedule),
    )

    @classmethod
    def check(cls, settings: Any, recipe: str) -> None:
        for name in ("start", "stop"):
            value, in_steps = getattr(settings, name), getattr(settings, f"{name}_in_steps")
            if in_steps and value != int(value):
                raise SettingError(f"FreeU {name}", value, f"a whole number of steps, or a share with {name}_in_steps off")
            if not in_steps and value > 1:
                raise SettingError(f"FreeU {name}", value, f"a share from 0 to 1, or a step with {name}_in_steps on")

    @classmethod
    def resolved(cls, settings: Any, model: ModelFacts) -> Any:
        if settings.preset == CUSTOM:
            return settings
        preset = settings.preset if settings.preset != AUTO else ("SDXL" if model.sdxl else "SD1.4")
        values: dict[str, Any] = {"preset": CUSTOM}
        for stage, (backbone, skip) in enumerate(PRESETS[preset], start=1):
            values.update({f"stage{stage}_backbone": backbone, f"stage{stage}_skip": skip})
        return dataclasses.replace(settings, **values)

    def inert(self, hires: bool) -> str | None:
        neutral = self.settings.preset == CUSTOM and encode_stages(self.settings) == "[]"
        return "all its stages leave features as they are" if neutral else None

    def active(self, step: Step) -> bool:
        return self._share(step) != 0

    def skip(self, h: Tensor, skip: Tensor, base_width: int, step: Step) -> tuple[Tensor, Tensor]:
        widths = ORIGINAL_CHANNELS if self.recipe == ORIGINAL else tuple(base_width * width for width in WIDTHS)
        if h.shape[1] not in widths:
            return h, skip
        stage = widths.index(h.shape[1]) + 1
        factors = {name: getattr(self.settings, f"stage{stage}_{name}") for name, *_ in STAGE_FIELDS}
        share = self._share(step)
        window = channel_window(factors["offset"], factors["width"], h.shape[1], inclusive=self.recipe == ORIGINAL)
        h = scale_backbone(h, window, _towards(factors["backbone"], share), self.settings.version)
        return h, filter_skip(skip, factors["cutoff"], _towards(factors["skip"], share), _towards(factors["high"], share))

    def _share(self, step: Step) -> float:
        """Recipe original counts the batch's model calls, which go on in the hires pass, against one pass' steps."""
        chosen = self.settings
        if self.recipe == ORIGINAL:
            place, steps = step.host.run_call, step.host.pass_steps
        else:  # a sampler that makes more steps than were asked for (DPM adaptive) stays at the last one's share
            place, steps = min(step.index, step.steps - 1), step.steps
        start = int(chosen.start if chosen.start_in_steps else chosen.start * steps)
        stop = int(chosen.stop if chosen.stop_in_steps else chosen.stop * steps)
        return schedule_share(place, start, stop, chosen.smoothness)


def _towards(factor: float, share: float) -> float:
    """A factor that acts in part: 1 at share 0, itself at share 1."""
    return (1 - share) + share * factor
