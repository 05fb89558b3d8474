"""The unconditional prediction of a host's CFG denoiser, for samplers that renoise with it.

Both hosts keep it on request, for their own DDIM CFG++: A1111 as the model's output, Forge as noise. This works in every
pass of every script, with or without a run of ours attached; a run's guidance is part of what the denoiser returns.

With a flow model that the host samples itself it takes the model's times and latents; such a latent divided by ``1 - t`` is
k-diffusion's, for which the samplers are made (:mod:`lib_sdfm.ops.flow`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..errors import UnsupportedError
from ..ops.descent import GuidedModel, NoiseSampler, Sampler
from ..ops.flow import LATEST_TIME, exploding_to_flow, flow_to_exploding, sigma_to_time, time_to_sigma
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
        self.last_uncond = blended(self._denoiser, uncond.to(denoised))
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

    def _mask(self) -> Tensor | None:
        return getattr(self._denoiser, "mask", None)


def blended(denoiser: Any, uncond: Tensor) -> Tensor:
    """Blend in what inpainting keeps, as a host's CFG denoiser does it in the guided prediction."""
    mask = getattr(denoiser, "mask", None)
    return uncond if mask is None else uncond * denoiser.nmask + denoiser.init_latent * mask


def require_uncond(extra_args: dict[str, Any]) -> None:
    """Raise :class:`UnsupportedError` if the host makes no unconditional prediction at all."""
    if extra_args.get("uncond") is None:
        raise UnsupportedError(
            "CFG++ samplers need the unconditional prediction, which Forge skips at CFG scale 1. Set another CFG scale (1.01, "
            "for example; in the hires pass, Hires CFG Scale)"
        )


def samples_in_time(denoiser: Any) -> bool:
    """Return True if a host's CFG denoiser takes a flow model's times and latents (Forge: predictors of type "const")."""
    return _is_in_time(getattr(denoiser, "inner_model", None))


def require_noise_table(denoiser: Any, sampler: str) -> None:
    """Raise :class:`UnsupportedError` if the model of Forge's CFG denoiser of timestep samplers is such a flow model."""
    objects = getattr(denoiser.inner_model.inner_model, "forge_objects", None)
    if objects is not None and _is_in_time(objects.unet.model):
        raise UnsupportedError(f"{sampler}: this flow model has no table of timesteps. Choose Euler CFG++")


def _is_in_time(owner: Any) -> bool:
    return getattr(getattr(owner, "predictor", None), "prediction_type", None) == "const"


def sampled_in_time(sample: Sampler, denoiser: GuidedModel, x: Tensor, times: Tensor, **options: Any) -> Tensor:
    """Sample a flow model with a sampler in noise levels; return the latent of the last time.

    :param x: the flow model's latent of the first time
    :param times: descending, ``(steps + 1,)``; pure noise is taken for that of :data:`~lib_sdfm.ops.flow.LATEST_TIME`
    :param options: the sampler's options
    """
    times = times.double().clamp(max=LATEST_TIME)
    if options.get("noise_sampler") is not None:
        options["noise_sampler"] = _noise_in_time(options["noise_sampler"])
    first, last = float(times[0]), float(times[-1])
    y = sample(_InSigma(denoiser), flow_to_exploding(x, first), time_to_sigma(times), **options)
    return exploding_to_flow(y, last)


class _InSigma:
    """A model in noise levels, from one in times."""

    def __init__(self, model: GuidedModel) -> None:
        self._model = model
        self.last_uncond: Tensor

    def __call__(self, y: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        time = sigma_to_time(sigma)
        denoised = self._model(exploding_to_flow(y, time.view(-1, *[1] * (y.ndim - 1))), time, **extra_args)
        self.last_uncond = self._model.last_uncond
        return denoised


def _noise_in_time(noise_sampler: NoiseSampler) -> NoiseSampler:
    """Return the noise sampler of a host, which goes by its times, for noise levels."""

    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return noise_sampler(sigma_to_time(sigma), sigma_to_time(sigma_next))

    return noise
