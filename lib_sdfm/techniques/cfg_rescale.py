"""CFG rescale, arXiv 2305.08891, section 3.4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import SettingError, UnsupportedError
from ..ops.guidance import rescale_guided
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import SDFM
from ..schema.feature import CFG
from ..schema.params import Composite, number, plain

KEY = "CFG Rescale"


@dataclass(frozen=True)
class CfgRescaleSettings:
    """Settings of :class:`CfgRescale`."""

    phi: float = number(
        0.7, 0, 1, step=0.05, label="CFG rescale phi", key=KEY, composite=True, recipes=(SDFM,),
        help="How much of the added contrast is taken back. 0: none; 0.7 is the paper's value.",
    )  # fmt: skip


def _encode(settings: Any) -> str:
    return str(plain(settings.phi))


def _decode(text: str) -> dict[str, Any]:
    try:
        return {"phi": float(text)}
    except ValueError:
        raise SettingError(KEY, text, "a number from 0 to 1") from None


class CfgRescale(Technique):
    """Rescaling of the guided result (with PAG and SEG) to the conditional prediction's standard deviation, as velocities."""

    name, label = "cfg_rescale", "CFG rescale"
    title = "CFG rescale"
    part = CFG
    summary = "Reduces the contrast and saturation that guidance adds, for models that burn at the CFG scale they need."
    Settings = CfgRescaleSettings
    active_key = KEY
    rank = 55
    positions = (72, 73)
    recipes = (SDFM,)
    composites = (Composite(KEY, _encode, _decode),)

    def inert(self, hires: bool) -> str | None:
        return "with phi 0 nothing is rescaled" if self.settings.phi == 0 else None

    def condition(self) -> str | None:
        return "a CFG scale other than 1, or PAG or SEG"

    def active(self, call: ModelCall) -> bool:
        return True

    def needs_level(self) -> bool:
        return True

    def finish(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        if prediction.noisy is None:
            raise UnsupportedError("CFG rescale: the latent of this model call is unknown")
        return rescale_guided(denoised, prediction.cond_per_image(), prediction.noisy, call.sigma, self.settings.phi)
