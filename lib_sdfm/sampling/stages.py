"""The stages of a prediction: a base class of techniques whose stages do nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .layers import LayerRange
from .model_call import ModelCall
from .model_kind import ModelKind
from .prediction import Prediction

SDFM, ORIGINAL = "sdfm", "original"
RECIPES = (SDFM, ORIGINAL)


@dataclass(frozen=True)
class Perturbation:
    """Change of transformer blocks in an extra prediction of the conditional rows: of their self-attention, or their input.

    :param layers: the transformer blocks that change
    :param query: replaces the queries ``(rows, tokens, channels)``, given the height and width of the token map
    :param identity: true if the attention map becomes the identity, so that the output of attention is its values V
    :param project: true if ``to_out`` is applied to the output of attention
    :param tokens: replaces the blocks' input ``(rows, tokens, channels)``, given the image of each row and the block's name
    """

    layers: tuple[LayerRange, ...]
    query: Callable[[Tensor, tuple[int, int]], Tensor] | None = None
    identity: bool = False
    project: bool = True
    tokens: Callable[[Tensor, Sequence[int], str], Tensor] | None = None


@dataclass(frozen=True)
class ModelFacts:
    """Facts that defaults may depend on.

    :param sdxl: true if the checkpoint is SDXL
    :param remembered: kind that the checkpoint is remembered as, ``None`` if it is an ordinary one
    :param asked_kind: name of the kind that the job asks for, ``None`` if what is remembered counts
    :param host_kind: name of the kind that the WebUI itself takes the checkpoint for, ``None`` for an ordinary one
    :param host_rescales: true if the WebUI itself rescales the noise table to zero terminal SNR
    :param sampler: name of the job's sampler
    :param hires_sampler: name of the hires pass' sampler, ``None`` without such a pass
    """

    sdxl: bool = False
    remembered: ModelKind | None = None
    asked_kind: str | None = None
    host_kind: str | None = None
    host_rescales: bool = False
    sampler: str = ""
    hires_sampler: str | None = None

    @property
    def flow_shift(self) -> float | None:
        """The shift with which the checkpoint is remembered as a flow model, ``None`` if it isn't."""
        return self.remembered.shift if self.remembered is not None and self.remembered.is_flow else None


class Stages:
    """A technique's stages of a prediction; subclasses override those that they use.

    What has to last from one step to the next is kept with :meth:`ModelCall.keep`, never on the instance or class.

    :param name: name in the API and in code
    :param label: short name for messages
    :param replaces_cfg: true if in recipe original it computes CFG itself, instead of any other technique
    :param needs_ratio: true if it needs the step ratio (``ModelCall.ratio``)
    :param guides_only: true if it does nothing where the CFG scale adds no guidance
    :param flow_only: true if it is made for flow models and refused with others
    """

    name: ClassVar[str]
    label: ClassVar[str]
    replaces_cfg: ClassVar[bool] = False
    needs_ratio: ClassVar[bool] = False
    flow_only: ClassVar[bool] = False
    guides_only: ClassVar[bool] = False

    @classmethod
    def combines(cls) -> bool:
        """Return True if it takes CFG's place, which only one technique of a run can."""
        return cls.combine is not Stages.combine

    @classmethod
    def only_scales(cls) -> bool:
        """Return True if all it does is to change the CFG scale."""
        others = ("perturbation", "main_perturbation", "cross_attention", "skip", "images_without_cfg", "combine", "correct")
        changed = [getattr(cls, name) is not getattr(Stages, name) for name in (*others, "finish", "scale_noise", "renoise")]
        return cls.guidance_scale is not Stages.guidance_scale and not any(changed)

    def inert(self, hires: bool) -> str | None:
        """Return why its settings have no effect in a pass, or ``None`` if they have."""

    def active(self, call: ModelCall) -> bool:
        """Return True if it is active in this call."""
        raise NotImplementedError

    def needs_level(self) -> bool:
        """Return True if it needs the noise level or the time of a call; reading them synchronises with the GPU."""
        return False

    def needs_uncond(self, call: ModelCall) -> bool:
        """Return True if it uses the unconditional prediction for more than CFG."""
        return False

    def perturbation(self, call: ModelCall) -> Perturbation | None:
        """Return the attention change of its extra prediction, if it needs one."""

    def main_perturbation(self, call: ModelCall) -> Perturbation | None:
        """Return the attention change of the unconditional rows in the main prediction itself, if any."""

    def negative_text(self) -> str:
        """Return the negative prompt of :meth:`cross_attention`; empty for the job's."""
        return ""

    def works_in_unet(self, call: ModelCall) -> bool:
        """Return True if it changes anything inside the UNet in this call."""
        edits = type(self).skip is not Stages.skip or type(self).cross_attention is not Stages.cross_attention
        return edits or self.perturbation(call) is not None or self.main_perturbation(call) is not None

    def cross_attention(self, positive: Tensor, negative: Tensor, call: ModelCall) -> Tensor:
        """Edit what a cross-attention layer gives in conditional rows, ``(rows, tokens, channels)`` before its projection.

        :param positive: attention to the prompt
        :param negative: attention of the same queries to the negative prompt
        """
        return positive

    def skip(self, h: Tensor, skip: Tensor, base_width: int, call: ModelCall) -> tuple[Tensor, Tensor]:
        """Edit the inputs of a decoder block: backbone ``h`` and skip features, each ``(rows, C, H, W)``.

        :param base_width: the UNet's ``model_channels``
        """
        return h, skip

    def guidance_scale(self, scale: float, call: ModelCall) -> float:
        """Return the CFG scale of this call, given the incoming one."""
        return scale

    def after_scale(self, call: ModelCall) -> ModelCall:
        """Return the call as it is for the stages that get the CFG scale after this one's ``guidance_scale``."""
        return call

    def images_without_cfg(self, call: ModelCall) -> Sequence[bool]:
        """Return for each image if CFG is left out in this call; one value counts for all, none for no image.

        If all go without it, the unconditional rows are not predicted.
        """
        return ()

    @classmethod
    def leaves_out_uncond(cls) -> bool:
        """Return True if it may leave out CFG, and with it the unconditional rows."""
        return cls.images_without_cfg is not Stages.images_without_cfg

    def observe(self, prediction: Prediction, call: ModelCall) -> None:
        """Look at the predictions before they are combined."""

    def combine(self, prediction: Prediction, call: ModelCall) -> Tensor | None:
        """Return the guided result ``(B, C, H, W)`` in place of plain CFG, or ``None`` for plain CFG."""

    def combined_scale(self, scale: float, call: ModelCall) -> float:
        """Return the CFG scale with which :meth:`combine` computes, given the call's, for what is told before a run."""
        return scale

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        """Add to the guided result ``(B, C, H, W)``."""
        return denoised

    def finish(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        """Change the guided result ``(B, C, H, W)`` once everything has been added to it."""
        return denoised

    def scale_noise(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        """Change the noise that the finished result ``(B, C, H, W)`` leaves in the latent."""
        return denoised

    def renoise(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        """Change the prediction used for renoising; runs last and gets the whole guided result ``(B, C, H, W)``."""
        return denoised
