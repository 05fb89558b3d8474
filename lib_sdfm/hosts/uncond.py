"""The unconditional prediction of a host's CFG denoiser, for samplers that renoise with it.

Both hosts keep it on request, for their own DDIM CFG++: A1111 as the model's output, Forge as noise. This works in every
pass of every script, with or without a run of ours attached; a run's guidance is part of what the denoiser returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..errors import UnsupportedError
from .attributes import InstanceAttribute

ROUNDING = 1e-5


class DenoiserWithUncond:
    """A host's CFG denoiser as a :class:`~lib_sdfm.ops.descent.GuidedModel`, until :meth:`detach`.

    :param denoiser: the CFG denoiser
    :param predict: calls it with k-diffusion's latents and noise levels, if it doesn't take these itself
    """

    def __init__(self, denoiser: Any, predict: Callable[..., Tensor] | None = None) -> None:
        self._denoiser, self._predict = denoiser, predict or denoiser
        self._keeps_noise = hasattr(denoiser, "classic_ddim_eps_estimation")  # Forge
        self._asked = InstanceAttribute(denoiser, "need_last_noise_uncond", True)
        self.last_uncond: Tensor

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        require_uncond(extra_args)
        denoised = self._predict(x, sigma, **extra_args)
        uncond = self._denoiser.last_noise_uncond
        if self._keeps_noise:
            uncond = self._denoised_of(uncond, x, sigma, denoised)
        self.last_uncond = self._blended(uncond.to(denoised))
        return denoised

    def detach(self) -> None:
        """Restore everything; may be called again."""
        self._asked.restore()

    def _denoised_of(self, noise: Tensor, x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
        """Return the unconditional image; if Forge skipped it (NGMS, zeros) the guided one: a plain step, as on A1111."""
        uncond = x - noise * sigma.view(-1, 1, 1, 1)
        mask = self._mask()
        outside = 1.0 if mask is None else (mask == 0).to(x)  # within it Forge's latent is another
        left_out = (uncond * outside).abs() <= ROUNDING * x.abs()
        return denoised if bool(left_out.all()) else uncond

    def _blended(self, uncond: Tensor) -> Tensor:
        """Blend in what inpainting keeps, as the host does it in the guided prediction."""
        mask, host = self._mask(), self._denoiser
        return uncond if mask is None else uncond * host.nmask + host.init_latent * mask

    def _mask(self) -> Tensor | None:
        return getattr(self._denoiser, "mask", None)


def require_uncond(extra_args: dict[str, Any]) -> None:
    """Raise :class:`UnsupportedError` if the host makes no unconditional prediction at all."""
    if extra_args.get("uncond") is None:
        raise UnsupportedError(
            "CFG++ samplers need the prediction for the negative prompt, which Forge doesn't make at CFG scale 1. Set another "
            "CFG scale (1.01, say; for the hires pass Hires CFG Scale)"
        )
