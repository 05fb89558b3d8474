"""CFG-Zero*, arXiv 2503.18886, for flow models."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import UnsupportedError
from ..ops.flow import exploding_to_flow, sigma_to_time
from ..ops.projection import fitted_share
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.prediction import Prediction
from ..sampling.stages import SDFM
from ..schema.feature import CFG
from ..schema.params import integer

PURE_NOISE = 0.99
"""Time from which on a pass counts as begun in pure noise."""


@dataclass(frozen=True)
class CfgZeroSettings:
    """Settings of :class:`CfgZero`."""

    zero_steps: int = integer(
        1, 0, slider_maximum=10, label="CFG-Zero* zero steps", key="SDFM CFG-Zero Steps", own=True, recipes=(SDFM,),
        help="Number of steps skipped at the beginning, where sampling starts from pure noise. 1 is usual for 28 steps; 0: "
        "none.",
    )  # fmt: skip


class CfgZero(Technique):
    """``v = a * v_u + s * (v_c - a * v_u)``, equation 8, with the ``a`` for which ``a * v_u`` is nearest to ``v_c``.

    Of denoised images: ``x_t + a * (D_u - x_t)`` takes the place of ``D_u`` in CFG. CFG++ still renoises with ``D_u``.
    """

    name, label = "cfg_zero", "CFG-Zero*"
    title = "CFG-Zero* (flow models)"
    part = CFG
    summary = (
        "For flow models: scales the unconditional prediction to match the conditional one before CFG, and skips the first "
        "step, which flow models predict poorly."
    )
    Settings = CfgZeroSettings
    active_key = "SDFM CFG-Zero Active"
    rank = 120
    positions = tuple(range(122, 124))
    recipes = (SDFM,)
    flow_only = guides_only = True

    def condition(self) -> str | None:
        return "a flow model, and a CFG scale above 1"

    def active(self, call: ModelCall) -> bool:
        return True

    def needs_level(self) -> bool:
        return True

    def combine(self, prediction: Prediction, call: ModelCall) -> Tensor | None:
        scale, time = prediction.cfg_scale, sigma_to_time(call.sigma)
        if call.index == 0:
            call.keep(self.name, time)  # where the pass begins
        if not call.guides(scale):
            return None
        if prediction.noisy is None:
            raise UnsupportedError("CFG-Zero*: the latent of this model call is unknown")
        prediction.require_plain_sum(self.label)
        x = exploding_to_flow(prediction.noisy, time)
        if self._is_left_out(call, time):
            return x
        share = fitted_share(x - prediction.cond_per_image(), x - prediction.uncond)
        shift = (prediction.uncond - x) * (share - 1.0)
        return prediction.uncond + prediction.guidance() * scale + shift * (1.0 - prediction.weights_per_image() * scale)

    def _is_left_out(self, call: ModelCall, time: float) -> bool:
        """Return True in the first steps of a pass that begins with pure noise; never in its last step."""
        start = time if call.index == 0 else call.previous(self.name)
        return call.index < min(self.settings.zero_steps, call.steps - 1) and start is not None and start >= PURE_NOISE
