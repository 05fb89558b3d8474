"""The stages of a prediction that a technique may take part in: a base class in which they do nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .layers import LayerRange
from .model_call import ModelCall
from .prediction import Prediction

SDFM, ORIGINAL = "sdfm", "original"
RECIPES = (SDFM, ORIGINAL)


@dataclass(frozen=True)
class Perturbation:
    """How self-attention changes in an extra prediction of the cond rows.

    :param layers: the transformer blocks whose self-attention changes
    :param query: replaces the queries ``(rows, tokens, channels)``, given the height and width of the token map
    :param identity: the attention map becomes the identity, so that attention gives its values V
    :param project: whether ``to_out`` is applied to what attention gives
    """

    layers: tuple[LayerRange, ...]
    query: Callable[[Tensor, tuple[int, int]], Tensor] | None = None
    identity: bool = False
    project: bool = True


@dataclass(frozen=True)
class ModelFacts:
    """What defaults may depend on.

    :param sdxl: whether the checkpoint is SDXL
    :param flow_shift: shift with which the checkpoint is remembered as a flow model, ``None`` if it isn't
    :param sampler: name of the job's sampler
    :param hires_sampler: name of the hires pass' sampler, ``None`` without such a pass
    """

    sdxl: bool = False
    flow_shift: float | None = None
    sampler: str = ""
    hires_sampler: str | None = None


class Stages:
    """A technique's part in predictions; subclasses override the stages that they take part in.

    :param name: name in the API and in code
    :param label: short name for messages
    :param replaces_cfg: in recipe original it computes CFG itself, whatever else would have combined it
    :param needs_ratio: true if it needs the step ratio (``ModelCall.ratio``)
    :param cfg_unit: what 1 of the CFG scale is in the scale that it puts in its place, for techniques that change that
        one afterwards
    """

    name: ClassVar[str]
    label: ClassVar[str]
    replaces_cfg: ClassVar[bool] = False
    needs_ratio: ClassVar[bool] = False
    cfg_unit: ClassVar[float | None] = None

    def inert(self, hires: bool) -> str | None:
        """Return why it changes nothing in a pass with its settings, or ``None`` if it does something."""

    def active(self, step: ModelCall) -> bool:
        """Whether it takes part in this call."""
        raise NotImplementedError

    def needs_level(self) -> bool:
        """Whether it asks for the noise level or the time of a call; to know them a GPU has to be waited for."""
        return False

    def needs_uncond(self, step: ModelCall) -> bool:
        """Whether it takes more from the prediction for the negative prompt than its part in CFG."""
        return False

    def perturbation(self, step: ModelCall) -> Perturbation | None:
        """The attention change of its extra prediction, if it needs one."""

    def main_perturbation(self, step: ModelCall) -> Perturbation | None:
        """An attention change of the uncond rows in the main prediction itself."""

    def skip(self, h: Tensor, skip: Tensor, base_width: int, step: ModelCall) -> tuple[Tensor, Tensor]:
        """Edits what enters a decoder block: backbone ``h`` and skip features, each ``(rows, C, H, W)``.

        :param base_width: the UNet's ``model_channels``
        """
        return h, skip

    def guidance_scale(self, scale: float, step: ModelCall) -> float:
        """The CFG scale of this call, from the one that came in."""
        return scale

    def combine(self, prediction: Prediction, step: ModelCall) -> Tensor | None:
        """The guided result ``(B, C, H, W)`` in place of plain CFG, or ``None`` for plain CFG."""

    def correct(self, denoised: Tensor, prediction: Prediction, step: ModelCall) -> Tensor:
        """Adds to the guided result ``(B, C, H, W)``."""
        return denoised

    def renoise(self, denoised: Tensor, prediction: Prediction, step: ModelCall) -> Tensor:
        """Changes what the sampler renoises with: last of all, given the whole guided result ``(B, C, H, W)``."""
        return denoised
