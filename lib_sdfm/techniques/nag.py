"""Normalized attention guidance, arXiv 2505.21179."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..ops.nag import normalized_guidance
from ..planning.technique import Technique
from ..sampling.model_call import ModelCall
from ..sampling.stages import SDFM
from ..schema import window
from ..schema.feature import CFG
from ..schema.params import ADVANCED, STRENGTH, number, text


@dataclass(frozen=True)
class NagSettings:
    """Settings of :class:`Nag`."""

    scale: float = number(
        2.0, 0, 100, slider_maximum=10, step=0.25, place=STRENGTH, label="NAG scale", key="SDFM NAG Scale",
        help="Strength: how far attention moves away from the negative prompt. 0: off; 2 to 5 is usual (1 less than nag_scale "
        "in ComfyUI-NAG and in the authors' code).",
    )  # fmt: skip
    tau: float = number(
        2.5, 0, 100, slider_maximum=10, step=0.1, group=ADVANCED, label="NAG tau", key="SDFM NAG Tau",
        help="Limits how many times larger attention may become. 2.5 is the paper's value.",
    )  # fmt: skip
    alpha: float = number(
        0.5, 0, 1, step=0.05, group=ADVANCED, label="NAG alpha", key="SDFM NAG Alpha",
        help="Share of guided attention in the result. 0.5 is the paper's value; use 0.25 or 0.125 if the picture degrades.",
    )  # fmt: skip
    negative: str = text(
        "", str, label="NAG negative prompt", key="SDFM NAG Negative Prompt", own=True,
        help="Negative prompt for NAG alone. Empty: the picture's negative prompt.",
    )  # fmt: skip
    start_step: int = window.start_step("NAG", key="SDFM NAG")
    end_step: int = window.end_step("NAG", key="SDFM NAG")
    sigma_from: float = window.sigma_from("NAG", key="SDFM NAG")
    sigma_to: float = window.sigma_to("NAG", key="SDFM NAG")
    hires_scale: float | None = number(
        None, 0, 100, slider_maximum=10, step=0.25, label="NAG scale, hires pass", key="SDFM NAG Hires Scale", own=True,
        follows="scale", help="NAG scale in the hires pass.",
    )  # fmt: skip
    hires_tau: float | None = number(
        None, 0, 100, slider_maximum=10, step=0.1, label="NAG tau, hires pass", key="SDFM NAG Hires Tau", own=True,
        follows="tau", help="NAG tau in the hires pass.",
    )  # fmt: skip
    hires_alpha: float | None = number(
        None, 0, 1, step=0.05, label="NAG alpha, hires pass", key="SDFM NAG Hires Alpha", own=True,
        follows="alpha", help="NAG alpha in the hires pass.",
    )  # fmt: skip
    hires_start_step: int | None = window.hires_start_step("NAG", key="SDFM NAG")
    hires_end_step: int | None = window.hires_end_step("NAG", key="SDFM NAG")


class Nag(Technique):
    """Attention to the prompt is moved away from attention to the negative prompt, in the conditional rows alone."""

    name, label = "nag", "NAG"
    title = "Normalized attention guidance (NAG)"
    part = CFG
    summary = (
        "Applies a negative prompt inside cross-attention. Works at CFG 1, where the usual negative prompt has no effect: for "
        "few-step models (LCM, Turbo, Lightning, DMD2). Can be combined with CFG and needs no extra UNet pass."
    )
    Settings = NagSettings
    active_key = "SDFM NAG"
    rank = 65
    positions = tuple(range(129, 144))
    recipes = (SDFM,)

    def inert(self, hires: bool) -> str | None:
        if self.value("scale", hires) == 0:
            return "its scale is 0"
        return "with alpha 0 attention stays as it is" if self.value("alpha", hires) == 0 else None

    def active(self, call: ModelCall) -> bool:
        return self.in_window(call) and self.in_noise_window(call)

    def needs_level(self) -> bool:
        return self.limits_noise()

    def negative_text(self) -> str:
        return self.settings.negative

    def cross_attention(self, positive: Tensor, negative: Tensor, call: ModelCall) -> Tensor:
        scale, tau, alpha = (self.value(name, call.hires) for name in ("scale", "tau", "alpha"))
        return normalized_guidance(positive, negative, scale, tau, alpha)
