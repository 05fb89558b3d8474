"""Epsilon scaling against exposure bias, arXiv 2308.15321."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import SettingError, UnsupportedError
from ..ops.flow import exploding_to_flow, sigma_to_time
from ..ops.guidance import scale_noise
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import SDFM
from ..schema.params import Composite, number, plain

KEY = "SDFM Epsilon Scaling"


@dataclass(frozen=True)
class EpsilonScalingSettings:
    """Settings of :class:`EpsilonScaling`."""

    factor: float = number(
        1.005, 0.5, 1.5, step=0.001, label="Epsilon scaling factor", key=KEY, composite=True, recipes=(SDFM,),
        help="Divides the predicted noise; values above 1 give more fine detail. 1.005 to 1.02 is usual, less with more steps; "
        "1: off.",
    )  # fmt: skip
    hires_factor: float | None = number(
        None, 0.5, 1.5, step=0.001, label="Epsilon scaling factor, hires pass", key="SDFM Epsilon Scaling Hires",
        own=True, follows="factor", recipes=(SDFM,), help="Epsilon scaling factor in the hires pass.",
    )  # fmt: skip


def _encode(settings: Any) -> str:
    return str(plain(settings.factor))


def _decode(text: str) -> dict[str, Any]:
    try:
        return {"factor": float(text)}
    except ValueError:
        raise SettingError(KEY, text, "a number from 0.5 to 1.5") from None


class EpsilonScaling(Technique):
    """``D = x - (x - D) / b`` on the finished result; ``x`` is ``x0 + sigma * noise``, or a flow model's own latent ``x_t``."""

    name, label = "epsilon_scaling", "Epsilon scaling"
    title = "Epsilon scaling"
    summary = (
        "Removes slightly less noise in each step than predicted, for more fine detail. Costs nothing and works at CFG 1 too."
    )
    Settings = EpsilonScalingSettings
    active_key = KEY
    rank = 140
    positions = tuple(range(125, 129))
    recipes = (SDFM,)
    composites = (Composite(KEY, _encode, _decode),)

    def inert(self, hires: bool) -> str | None:
        return "with factor 1 nothing is scaled" if self.value("factor", hires) == 1 else None

    def active(self, call: ModelCall) -> bool:
        return True

    def needs_level(self) -> bool:
        return True

    def scale_noise(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        if prediction.noisy is None:
            raise UnsupportedError("Epsilon scaling: the latent of this model call is unknown")
        x = prediction.noisy
        if call.flow_model:
            x = exploding_to_flow(x, sigma_to_time(call.sigma))
        return scale_noise(denoised, x, self.value("factor", call.hires))
