"""FreeU, arXiv 2309.11497, with the controls of sd-webui-freeu: three stages, channel window, cutoff, schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..errors import SettingError
from ..ops.freeu import channel_window, filter_skip, scale_backbone, schedule_share
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.stages import ORIGINAL, SDFM, ModelFacts
from ..schema.freeu_texts import (
    CUSTOM,
    HIRES_FIELDS,
    HIRES_SCHEDULE,
    HIRES_STAGES,
    STAGE_FIELDS,
    STAGES,
    decode_hires_schedule,
    decode_hires_stages,
    decode_schedule,
    decode_stages,
    encode_hires_schedule,
    encode_hires_stages,
    encode_schedule,
    encode_stages,
)
from ..schema.params import ADVANCED, WHEN, Composite, boolean, choice, number

WIDTHS = (4, 2, 1)
"""Channels of the stages, in multiples of the UNet's ``model_channels``."""
ORIGINAL_CHANNELS = (1280, 640, 320)
AUTO = "Auto"
PRESETS = {
    "SD1.4": ((1.2, 0.9), (1.4, 0.2)),
    "SD2.1": ((1.1, 0.9), (1.2, 0.2)),
    "SDXL": ((1.1, 0.6), (1.2, 0.4)),
}
"""Backbone and skip factors of the first two stages."""


def _stage_fields(stage: int) -> list[tuple[str, type, Any]]:
    fields = []
    for name, _, default, low, high, label, axis, help in STAGE_FIELDS:
        declared = number(
            default, low, high, step=0.01, label=f"FreeU stage {stage} {label}", key=f"FreeU stage {stage} {label}",
            axis=f"[FreeU] Stage {stage} {axis}", rare=True, composite=True, implies=(("preset", CUSTOM),),
            group=f"Stage {stage}", help=help,
        )  # fmt: skip
        fields.append((f"stage{stage}_{name}", float, declared))
    return fields


def _hires(declare: Callable[..., Any], name: str, label: str, about: str, *bounds: Any, **more: Any) -> Any:
    """Declare a value of the hires pass that follows that of the first pass."""
    label = f"FreeU {label}, hires pass"
    return declare(None, *bounds, label=label, key=label, follows=name, composite=True, recipes=(SDFM,), help=about, **more)


def _hires_schedule_fields() -> list[tuple[str, Any, Any]]:
    share = {"slider_maximum": 1, "step": 0.01}
    return [
        ("hires_start", float | None, _hires(number, "start", "start", "When it starts in the hires pass.", 0, 10000, **share)),
        ("hires_stop", float | None, _hires(number, "stop", "stop", "When it stops in the hires pass.", 0, 10000, **share)),
        ("hires_smoothness", float | None, _hires(
            number, "smoothness", "transition smoothness", "0: full strength from start to stop. 1: fades in up to the start, "
            "then fades out until the stop.", 0, 1, step=0.01,
        )),
        ("hires_start_in_steps", bool | None, _hires(
            boolean, "start_in_steps", "start is a step number", "Reads the start as a step number.",
        )),
        ("hires_stop_in_steps", bool | None, _hires(
            boolean, "stop_in_steps", "stop is a step number", "Reads the stop as a step number.",
        )),
    ]  # fmt: skip


def _hires_stage_fields(stage: int) -> list[tuple[str, Any, Any]]:
    fields = []
    for name, _, _, low, high, label, _, about in STAGE_FIELDS:
        if name in HIRES_FIELDS:
            where, implied = f"stage{stage}_{name}", (("hires_preset", CUSTOM),)
            declared = _hires(number, where, f"stage {stage} {label}", about, low, high, step=0.01, implies=implied)
            fields.append((f"hires_{where}", float | None, declared))
    return fields


FreeuSettings = dataclasses.make_dataclass(
    "FreeuSettings",
    [
        ("preset", str, choice(
            AUTO, (AUTO, *PRESETS, CUSTOM), label="FreeU preset", key="FreeU preset", axis="[FreeU] Preset", composite=True,
            axis_values=tuple((f"{name} Recommendations", name) for name in PRESETS),
            help="Auto: the values for the loaded model (SDXL, otherwise SD1.4). Custom: the values of the stages below.",
        )),
        ("version", str, choice(
            "2", ("1", "2"), label="FreeU version", key="FreeU Version", axis="[FreeU] Version", absent="1",
            axis_values=(("Version 1", "1"), ("Version 2", "2")),
            help="Version 2 scales the backbone where its features are strong, version 1 everywhere.",
        )),
        ("start", float, number(
            0.0, 0, 10000, slider_maximum=1, step=0.01, label="FreeU start", key="FreeU start", composite=True,
            axis="[FreeU] Start At Step", place=WHEN, help="When FreeU starts, as a share of the steps. 0: at the first step.",
        )),
        ("stop", float, number(
            1.0, 0, 10000, slider_maximum=1, step=0.01, label="FreeU stop", key="FreeU stop", composite=True,
            axis="[FreeU] Stop At Step", place=WHEN, help="When FreeU stops, as a share of the steps. 1: after the last step.",
        )),
        ("smoothness", float, number(
            0.0, 0, 1, step=0.01, group=ADVANCED, label="FreeU transition smoothness", key="FreeU transition smoothness",
            composite=True,
            axis="[FreeU] Transition Smoothness", help="0: full strength from start to stop. 1: fades in up to the start, then "
            "fades out until the stop.",
        )),
        ("start_in_steps", bool, boolean(
            False, label="FreeU start is a step number", key="FreeU start is a step number", composite=True, group=ADVANCED,
            help="Reads the start as a step number instead of a share of the steps.",
        )),
        ("stop_in_steps", bool, boolean(
            False, label="FreeU stop is a step number", key="FreeU stop is a step number", composite=True, group=ADVANCED,
            help="Reads the stop as a step number instead of a share of the steps.",
        )),
        *(field for stage in STAGES for field in _stage_fields(stage)),
        ("hires_preset", str | None, _hires(
            choice, "preset", "preset", "FreeU values in the hires pass. Custom: the values of the stages below.",
            (AUTO, *PRESETS, CUSTOM),
        )),
        *_hires_schedule_fields(),
        *(field for stage in STAGES for field in _hires_stage_fields(stage)),
    ],
    frozen=True,
)  # fmt: skip
FreeuSettings.__doc__ = """Settings of :class:`FreeU`."""
FreeuSettings.__module__ = __name__


class FreeU(Technique):
    """Scaling of backbone features and filtering of skip features in the decoder."""

    name, label = "freeu", "FreeU"
    title = "FreeU"
    summary = (
        "Strengthens the decoder features that carry structure and weakens the skip features that carry detail. Costs next to "
        "nothing."
    )
    Settings = FreeuSettings
    active_key = "FreeU Stages"
    active_axis = "[FreeU] Enabled"
    rank = 10
    positions = (*range(44, 70), *range(84, 97))
    composites = (
        Composite("FreeU Stages", encode_stages, decode_stages),
        Composite("FreeU Schedule", encode_schedule, decode_schedule),
        Composite(HIRES_STAGES, encode_hires_stages, decode_hires_stages, own=True),
        Composite(HIRES_SCHEDULE, encode_hires_schedule, decode_hires_schedule, own=True),
    )

    @classmethod
    def check(cls, settings: Any, recipe: str) -> None:
        technique = cls(settings, recipe)
        for hires in (False, True):
            for name in ("start", "stop"):
                value, in_steps = technique.value(name, hires), technique.value(f"{name}_in_steps", hires)
                label = f"FreeU {name}" + (", hires pass" if hires else "")
                if in_steps and value != int(value):
                    raise SettingError(label, value, f"a whole number of steps, or a share with {name}_in_steps off")
                if not in_steps and value > 1:
                    raise SettingError(label, value, f"a share from 0 to 1, or a step with {name}_in_steps on")

    @classmethod
    def resolved(cls, settings: Any, model: ModelFacts) -> Any:
        values: dict[str, Any] = {}
        for prefix in ("", "hires_"):
            preset = getattr(settings, f"{prefix}preset")
            if preset in (CUSTOM, None):
                continue
            preset = preset if preset != AUTO else ("SDXL" if model.sdxl else "SD1.4")
            values[f"{prefix}preset"] = CUSTOM
            for stage, (backbone, skip) in enumerate((*PRESETS[preset], (1.0, 1.0)), start=1):
                values.update({f"{prefix}stage{stage}_backbone": backbone, f"{prefix}stage{stage}_skip": skip})
        return dataclasses.replace(settings, **values)

    def inert(self, hires: bool) -> str | None:
        if self.settings.preset != CUSTOM or (hires and self.settings.hires_preset not in (CUSTOM, None)):
            return None
        neutral = all(self._factors(stage, hires)[name] == 1 for stage in STAGES for name in ("backbone", "skip", "high"))
        return "all its stages leave features as they are" if neutral else None

    def condition(self) -> str | None:
        if self.recipe != ORIGINAL:
            return None
        widths = ", ".join(map(str, ORIGINAL_CHANNELS))
        return (
            f"the old extension acts on decoders {widths} channels wide (SD1.5, SD2, SDXL; not the SDXL refiner), and goes on "
            "counting model calls in the hires pass"
        )

    def _factors(self, stage: int, hires: bool) -> dict[str, float]:
        return {name: self.value(f"stage{stage}_{name}", hires) for name, *_ in STAGE_FIELDS}

    def active(self, call: ModelCall) -> bool:
        return self._share(call) != 0

    def skip(self, h: Tensor, skip: Tensor, base_width: int, call: ModelCall) -> tuple[Tensor, Tensor]:
        widths = ORIGINAL_CHANNELS if self.recipe == ORIGINAL else tuple(base_width * width for width in WIDTHS)
        if h.shape[1] not in widths:
            return h, skip
        stage = widths.index(h.shape[1]) + 1
        factors = self._factors(stage, call.hires)
        share = self._share(call)
        window = channel_window(factors["offset"], factors["width"], h.shape[1], self.recipe == ORIGINAL, h.device)
        h = scale_backbone(h, window, _towards(factors["backbone"], share), self.settings.version)
        return h, filter_skip(skip, factors["cutoff"], _towards(factors["skip"], share), _towards(factors["high"], share))

    def _share(self, call: ModelCall) -> float:
        """Return the share at a step; recipe original counts the batch's model calls, both passes, against one pass' steps."""
        if self.recipe == ORIGINAL:
            place, steps = call.host.run_call, call.host.pass_steps
        else:  # a sampler that makes more steps than were asked for (DPM adaptive) stays at the last one's share
            place, steps = min(call.index, call.steps - 1), call.steps
        start, stop = (self._end(name, steps, call.hires) for name in ("start", "stop"))
        return schedule_share(place, start, stop, self.value("smoothness", call.hires))

    def _end(self, name: str, steps: int, hires: bool) -> int:
        value = self.value(name, hires)
        return int(value if self.value(f"{name}_in_steps", hires) else value * steps)


def _towards(factor: float, share: float) -> float:
    """Return a factor applied in part: 1 at share 0, itself at share 1."""
    return (1 - share) + share * factor
