"""DDIM (arXiv:2010.02502, eq. 12) and its CFG++ form (arXiv:2406.08070), on noise predictions and timesteps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from modules.libraries import sampling

CFGPP_SCALE = 1 / 12.5
"""A CFG scale of 12.5 is CFG++'s lambda 1."""


def _walk(
    model: Any,
    x: Tensor,
    timesteps: Tensor,
    extra_args: dict[str, Any] | None,
    callback: Callable[[dict[str, Any]], None] | None,
    eta: float,
    direction: Callable[[Tensor], Tensor],
) -> Tensor:
    """From the last timestep down to the second; the walk ends at the alpha of the first, which is not 1.

    :param direction: the noise that is put back, from the guided prediction
    """
    table = model.inner_model.inner_model.alphas_cumprod
    for i, index in enumerate(range(len(timesteps) - 1, 0, -1)):
        t = timesteps[index]
        alpha, alpha_prev = table[t].double(), table[timesteps[index - 1]].double()
        eps = model(x, t * x.new_ones(x.shape[0]), **(extra_args or {}))
        denoised = (x - (1 - alpha).sqrt() * eps) / alpha.sqrt()
        sigma = eta * ((1 - alpha_prev) / (1 - alpha) * (1 - alpha / alpha_prev)).sqrt()
        x = alpha_prev.sqrt() * denoised + (1 - alpha_prev - sigma**2).sqrt() * direction(eps)
        x = (x + sigma * sampling.torch.randn_like(x)).to(eps.dtype)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": 0, "sigma_hat": 0, "denoised": denoised})
    return x


@torch.no_grad()
def ddim(
    model: Any,
    x: Tensor,
    timesteps: Tensor,
    extra_args: Any = None,
    callback: Any = None,
    disable: Any = None,
    eta: float = 0.0,
) -> Tensor:
    return _walk(model, x, timesteps, extra_args, callback, eta, lambda eps: eps)


@torch.no_grad()
def ddim_cfgpp(
    model: Any,
    x: Tensor,
    timesteps: Tensor,
    extra_args: Any = None,
    callback: Any = None,
    disable: Any = None,
    eta: float = 0.0,
) -> Tensor:
    """Puts the negative prompt's noise back; the scale is divided by 12.5."""
    model.cond_scale_miltiplier = CFGPP_SCALE
    model.need_last_noise_uncond = True
    return _walk(model, x, timesteps, extra_args, callback, eta, lambda eps: model.last_noise_uncond)
