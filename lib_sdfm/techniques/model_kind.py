"""Model kind: what the checkpoint's UNet predicts, and zero terminal SNR."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SettingError
from ..sampling.model_kind import FLOW, KINDS, NOISE, V
from ..sampling.stages import ModelFacts
from ..schema.feature import MODEL, Feature
from ..schema.params import Composite, boolean, choice
from .flow import OFF, ON, Flow

AUTOMATIC = "Automatic"
KEY = "Model Kind"
CHOICES = (AUTOMATIC, *KINDS)


@dataclass(frozen=True)
class ModelKindSettings:
    """Settings of :class:`ModelKinds`."""

    kind: str = choice(
        AUTOMATIC, CHOICES, label="Model kind", key=KEY, composite=True,
        help="What the checkpoint predicts, as stated by its author. Automatic: what is remembered for it, otherwise the "
        "WebUI's choice.",
    )  # fmt: skip
    zero_terminal_snr: bool = boolean(
        False, label="Zero terminal SNR", key="Zero Terminal SNR", own=True,
        help="Starts sampling from pure noise, for darker darks and brighter lights. Only for v-prediction checkpoints trained "
        "with it.",
    )  # fmt: skip


def _encode(settings: ModelKindSettings) -> str:
    return settings.kind


def _decode(text: str) -> dict[str, str]:
    if text not in CHOICES:
        raise SettingError(KEY, text, "one of " + ", ".join(CHOICES))
    return {"kind": text}


class ModelKinds(Feature):
    """Declaration of what the model predicts. The hosts' ``model_kind.py`` sample it so."""

    name, label = "model", "Model kind"
    title = "Model kind (v-prediction, zero terminal SNR)"
    summary = (
        "For v-prediction checkpoints, such as NoobAI v-pred, that the WebUI takes for ordinary ones, so that their pictures "
        "burn. Works with every sampler and needs no .yaml file. While this section is closed, the kind remembered for the "
        "checkpoint applies."
    )
    part = MODEL
    Settings = ModelKindSettings
    active_key = KEY
    rank = 82
    positions = (108, 109, 110)
    composites = (Composite(KEY, _encode, _decode),)

    @classmethod
    def check(cls, settings: ModelKindSettings, recipe: str) -> None:
        if settings.zero_terminal_snr and settings.kind != V:
            raise SettingError(
                "Zero Terminal SNR", True, f"only False with {KEY} {settings.kind}; it needs {V}, because "
                "in pure noise a predicted noise tells nothing about the picture"
            )  # fmt: skip

    @classmethod
    def implied(cls, model: ModelFacts) -> ModelKindSettings | None:
        return cls.resolved(ModelKindSettings(), model)

    @classmethod
    def resolved(cls, settings: ModelKindSettings, model: ModelFacts) -> ModelKindSettings | None:
        """Resolve Automatic; what is written is how the model was sampled. A flow model's kind is written by :class:`Flow`."""
        kind, zero = settings.kind, settings.zero_terminal_snr
        if kind == AUTOMATIC:
            known = None if model.asked_kind == FLOW else model.remembered
            kind, zero = (NOISE, False) if known is None else (known.name, known.zero_terminal_snr)
        if kind == V:
            return ModelKindSettings(V, zero or model.host_rescales)
        is_worth_a_word = settings.kind == NOISE and (model.remembered is not None or model.host_kind is not None)
        return dataclasses.replace(settings) if is_worth_a_word else None

    def conflict(self, other: Feature) -> str | None:
        kind, mode = self.settings.kind, getattr(other.settings, "mode", None) if isinstance(other, Flow) else None
        if (kind == FLOW and mode == OFF) or (kind in (NOISE, V) and mode == ON):
            return f"kind {kind} and mode {mode} contradict each other"
        return None

    def inert(self, hires: bool) -> str | None:
        return "what is remembered for the checkpoint applies" if self.settings.kind == AUTOMATIC else None


def asked_kind(techniques: Mapping[str, Any]) -> str | None:
    """Return the kind that a job's validated settings ask for, ``None`` if what is remembered counts."""
    model, flow = techniques.get(ModelKinds.name), techniques.get(Flow.name)
    kind = None if model is None or model.kind == AUTOMATIC else model.kind
    mode = None if flow is None else flow.mode
    return FLOW if mode == ON else kind
