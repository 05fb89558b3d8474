"""One call of Forge's CFG denoiser: its techniques, and the rows that it predicts."""

from __future__ import annotations

import math
from typing import Any

from ...errors import UnsupportedError
from ...sampling.model_call import ModelCall
from ...sampling.plan import main_perturbations, perturbations, skip_editors
from ...sampling.stages import Stages
from ..attention import decoder_did_not_run
from ..run import Together
from ..unet_layers import UnetLayers
from .attention import AttentionPatches, uncond_rows
from .tail import ForgeTail, forge_tail


class DenoiserCall:
    """One call of the denoiser: its step, and the techniques active in it.

    :param has_no_uncond: true if the job has CFG scale 1, for which Forge makes no unconditional conditioning at all
    """

    def __init__(self, call: ModelCall, active: tuple[Stages, ...], has_no_uncond: bool) -> None:
        self.model_call, self.active, self.has_no_uncond = call, active, has_no_uncond
        self.changes = perturbations(active, call)
        self.tail: ForgeTail | None = None
        self.skip_editors = skip_editors(active)
        self.query_patches: list[AttentionPatches] = []
        self.decoder_ran = False
        self.base_width = 0
        self.skips_uncond = has_no_uncond
        self.scale = 1.0
        self.begun = self.combined = False

    @property
    def perturbing(self) -> list[str]:
        """Labels of the techniques that perturb attention."""
        return [technique.label for technique in self.active if technique.name in self.changes]

    def prepare(self, unet: UnetLayers, together: Together | None, tail: type[ForgeTail]) -> None:
        """Find the modules of the UNet that are changed in the main prediction.

        :param together: decides if perturbed rows run together with the host's; ``None`` for whole passes
        :param tail: the host's class of tails
        :raises UnsupportedError: if the UNet lacks them
        """
        unet.require_for(self.active, self.model_call)
        if self.skip_editors:
            self.base_width = unet.unet.model_channels
        changes = main_perturbations(self.active, self.model_call)
        self.query_patches = [AttentionPatches(unet, change, uncond_rows) for change in changes]
        if together is not None:
            self.tail = forge_tail(unet, self.changes, bool(self.skip_editors), together, tail)

    def require_ran(self) -> None:
        """Raise :class:`UnsupportedError` if the main prediction never reached a module that should have changed it."""
        for patches in self.query_patches:
            patches.require_ran()
        if self.skip_editors and not self.decoder_ran:
            raise decoder_did_not_run(", ".join(technique.label for technique in self.skip_editors))


def is_one(scale: float) -> bool:
    """Return True if Forge treats a CFG scale as 1, at which it skips the unconditional prediction."""
    return math.isclose(scale, 1.0)


def prompts_weight(cond: list[dict[str, Any]]) -> float:
    """Return the sum of the weights of the prompts joined by AND; Forge passes on their weighted mean."""
    return float(sum(part.get("strength", 1) for part in cond))


def require_no_uncond_needed(active: tuple[Stages, ...], call: ModelCall) -> None:
    """Raise :class:`UnsupportedError` if a technique needs what Forge does not compute at CFG scale 1."""
    needy = [t.label for t in active if t.needs_uncond(call) or not is_one(t.guidance_scale(1.0, call))]
    if needy:
        raise UnsupportedError(
            f"{', '.join(needy)}: needs the unconditional prediction, which Forge skips at CFG scale 1. Set "
            "another CFG scale (1.01, say; for the hires pass Hires CFG Scale)"
        )
