"""CFG scale of the hires pass, for WebUIs without a field for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..errors import SettingError
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.stages import ModelFacts
from ..schema.feature import CFG
from ..schema.params import Composite, number, plain

KEY = "Hires CFG Scale"
AS_FIRST_PASS = 0.0


@dataclass(frozen=True)
class HiresCfgSettings:
    """Settings of :class:`HiresCfg`."""

    scale: float = number(
        AS_FIRST_PASS, 0, 100, slider_maximum=30, step=0.1, label="Hires CFG scale", key=KEY, composite=True,
        help="CFG scale in the hires pass. 0: the same as in the first pass.",
    )  # fmt: skip


def _encode(settings: Any) -> str:
    return str(plain(settings.scale))


def _decode(text: str) -> dict[str, Any]:
    try:
        return {"scale": float(text)}
    except ValueError:
        raise SettingError(KEY, text, "a number from 0 to 100") from None


class HiresCfg(Technique):
    """A CFG scale of its own for txt2img's hires pass, as in Forge; techniques that change the scale start from it."""

    name, label = "hires_cfg", "Hires CFG"
    title = "CFG scale of the hires pass"
    part, rare = CFG, True
    summary = "Gives the hires pass its own CFG scale: a lower one keeps colours calm, a higher one adds contrast to details."
    Settings = HiresCfgSettings
    active_key = KEY
    rank = 52
    positions = (106, 107)
    composites = (Composite(KEY, _encode, _decode),)
    host_field = "hr_cfg"

    @classmethod
    def resolved(cls, settings: HiresCfgSettings, model: ModelFacts) -> HiresCfgSettings | None:
        """Return ``None`` for a job without a hires pass, or whose hires pass has the first pass' scale."""
        return None if model.hires_sampler is None or settings.scale == AS_FIRST_PASS else settings

    def inert(self, hires: bool) -> str | None:
        if self.settings.scale == AS_FIRST_PASS:
            return "at 0 the hires pass uses the CFG scale of the first pass"
        return None if hires else "it acts only in the hires pass"

    def condition(self) -> str | None:
        return "a hires pass, and a CFG scale other than the first pass'"

    def active(self, call: ModelCall) -> bool:
        return call.hires and self.settings.scale != call.host.job_cfg_scale

    def guidance_scale(self, scale: float, call: ModelCall) -> float:
        return self.settings.scale * call.scale_multiplier

    def after_scale(self, call: ModelCall) -> ModelCall:
        return replace(call, host=replace(call.host, job_cfg_scale=self.settings.scale))
