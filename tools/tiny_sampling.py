"""Euler samplers for the shapes models, without a WebUI: what a checkpoint itself is worth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib_sdfm.ops.v_prediction import v_to_eps, with_zero_terminal_snr
from tools.tiny_model import FLOW, TinyModel, V

FLOW_SHIFT = 3.0
TIMESTEPS = 1000


def noise_table() -> Tensor:
    """``alphas_cumprod`` of SDXL, ``(1000,)``, float64."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)


def v_table() -> Tensor:
    """The same with zero terminal SNR."""
    return with_zero_terminal_snr(noise_table())


def shifted(t: Tensor, shift: float = FLOW_SHIFT) -> Tensor:
    """Flow times moved towards noise."""
    return shift * t / (1 + (shift - 1) * t)


def _guided(model: TinyModel, x: Tensor, timestep: Tensor, context: Tensor, cfg: float) -> Tensor:
    """The UNet's prediction with classifier-free guidance; ``context`` holds the rows without a prompt first."""
    uncond, cond = model.unet(torch.cat([x, x]), timestep.expand(2 * len(x)), context).chunk(2)
    return uncond + cfg * (cond - uncond)


def _euler_eps(model: TinyModel, noise: Tensor, context: Tensor, steps: int, cfg: float) -> Tensor:
    """Variance-exploding Euler over evenly spaced timesteps, as k-diffusion's ``get_sigmas``; of eps or v models."""
    alpha_bars = v_table() if model.objective == V else noise_table()
    table = ((1 - alpha_bars) / alpha_bars).sqrt()
    timesteps = torch.linspace(TIMESTEPS - 1, 0, steps, dtype=torch.float64)
    sigmas = torch.cat([torch.lerp(table[timesteps.long()], table[timesteps.ceil().long()], timesteps.frac()), torch.zeros(1)])
    x = noise * sigmas[0].float()
    for timestep, sigma, sigma_next in zip(timesteps.float(), sigmas.float(), sigmas[1:].float()):
        scaled = x / (sigma**2 + 1).sqrt()
        predicted = _guided(model, scaled, timestep, context, cfg)
        eps = v_to_eps(predicted, scaled, sigma) if model.objective == V else predicted
        x = x + (sigma_next - sigma) * eps
    return x


def _euler_flow(model: TinyModel, noise: Tensor, context: Tensor, steps: int, cfg: float) -> Tensor:
    """From t = 1 to 0 along the predicted velocity."""
    times = shifted(torch.linspace(1, 0, steps + 1))
    x = noise
    for t, t_next in zip(times, times[1:]):
        x = x + (t_next - t) * _guided(model, x, t * TIMESTEPS, context, cfg)
    return x


def as_bytes(pictures: Tensor) -> Tensor:
    """``(B, 3, H, W)`` in [-1, 1] to ``(B, H, W, 3)`` bytes."""
    return ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1)


@torch.no_grad()
def sample(model: TinyModel, captions: Sequence[str], seed: int, steps: int = 20, cfg: float = 4.0, size: int = 16) -> Tensor:
    """Pictures ``(B, H, W, 3)`` of bytes, one for each caption.

    :param size: of the latent's side
    """
    noise = torch.randn(len(captions), 4, size, size, generator=torch.Generator().manual_seed(seed))
    context = torch.cat([model.conditioning([""]).expand(len(captions), -1, -1), model.conditioning(captions)])
    sampler = _euler_flow if model.objective == FLOW else _euler_eps
    return as_bytes(model.coding.decode(sampler(model, noise, context, steps, cfg)))
