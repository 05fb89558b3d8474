"""The unconditional prediction of reForge's CFG denoiser: what the host itself keeps on request is the guided result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..uncond import blended, require_uncond

POST_CFG = "sampler_post_cfg_function"


class ReforgeWithUncond:
    """reForge's CFG denoiser as a :class:`~lib_sdfm.ops.descent.GuidedModel`: a post-CFG function among the options of each
    call sees the prediction, as those of the host's own CFG++ samplers do. Nothing is attached.

    :param denoiser: the CFG denoiser
    :param predict: calls it with k-diffusion's latents and noise levels, if it doesn't take these itself
    """

    def __init__(self, denoiser: Any, predict: Callable[..., Tensor] | None = None) -> None:
        self._denoiser, self._predict = denoiser, predict or denoiser
        self.last_uncond: Tensor

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        require_uncond(extra_args)
        seen: list[Tensor | None] = []

        def keep(args: dict[str, Any]) -> Tensor:
            seen.append(None if args["uncond"] is None else args["uncond_denoised"])
            return args["denoised"]

        extra_args["model_options"] = self._options(extra_args.get("model_options") or {}, keep)
        denoised = self._predict(x, sigma, **extra_args)
        uncond = seen[-1] if seen and seen[-1] is not None else denoised  # left out (NGMS): a plain step, as on A1111
        self.last_uncond = blended(self._denoiser, uncond.to(denoised))
        return denoised

    def detach(self) -> None:
        """Do nothing: nothing is attached."""

    def _options(self, given: dict[str, Any], keep: Callable[[dict[str, Any]], Tensor]) -> dict[str, Any]:
        """Return the options of a call, which replace those of the UNet: its own functions are kept."""
        own = self._denoiser.inner_model.inner_model.forge_objects.unet.model_options
        functions = given.get(POST_CFG, own.get(POST_CFG, ()))
        return {**given, POST_CFG: [keep, *functions], "disable_cfg1_optimization": True}
