"""Noise schedules. Labels, names and formulas are facts of the host; the functions are k-diffusion's or written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from modules import shared
from modules.libraries import sampling


@dataclass
class Scheduler:
    """One schedule.

    :param default_rho: the exponent it has if it has one, else -1
    :param need_inner_model: whether it wants to see the model's table
    """

    name: str
    label: str
    function: Callable[..., Tensor] | None
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list[str] = field(default_factory=list)


def _ending_in_zero(sigmas: Iterable[float], device: Any) -> Tensor:
    return torch.tensor([*map(float, sigmas), 0.0]).to(device)


def _between(sigma_min: float, sigma_max: float, inner_model: Any) -> tuple[float, float]:
    """Timesteps of the two ends, the noisy one first."""
    return tuple(float(inner_model.sigma_to_t(torch.tensor(sigma))) for sigma in (sigma_max, sigma_min))


def uniform(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    return inner_model.get_sigmas(n).to(device)


def sgm_uniform(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """Even timesteps, the last of which is left out."""
    start, end = _between(sigma_min, sigma_max, inner_model)
    return _ending_in_zero((inner_model.t_to_sigma(t) for t in torch.linspace(start, end, n + 1)[:-1]), device)


def normal(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """Even timesteps."""
    start, end = _between(sigma_min, sigma_max, inner_model)
    return _ending_in_zero((inner_model.t_to_sigma(t) for t in torch.linspace(start, end, n)), device)


def simple(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """Every so many entries of the model's table."""
    table, stride = inner_model.sigmas, len(inner_model.sigmas) / n
    return _ending_in_zero((table[-1 - int(i * stride)] for i in range(n)), device)


def ddim(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """The timesteps of DDIM."""
    table = inner_model.sigmas
    return _ending_in_zero(table[1 :: max(len(table) // n, 1)].flip(0), device)


def beta(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Tensor:
    """Quantiles of a beta distribution (arXiv:2407.12173), which A1111 takes linear in sigma."""
    quantiles = stats.beta.ppf(1 - np.linspace(0, 1, n), shared.opts.beta_dist_alpha, shared.opts.beta_dist_beta)
    return _ending_in_zero(sigma_min + quantiles * (sigma_max - sigma_min), device)


schedulers = [
    Scheduler("automatic", "Automatic", None),
    Scheduler("uniform", "Uniform", uniform, need_inner_model=True),
    Scheduler("karras", "Karras", sampling.get_sigmas_karras, default_rho=7.0),
    Scheduler("exponential", "Exponential", sampling.get_sigmas_exponential),
    Scheduler("polyexponential", "Polyexponential", sampling.get_sigmas_polyexponential, default_rho=1.0),
    Scheduler("sgm_uniform", "SGM Uniform", sgm_uniform, need_inner_model=True, aliases=["SGMUniform"]),
    Scheduler("simple", "Simple", simple, need_inner_model=True),
    Scheduler("normal", "Normal", normal, need_inner_model=True),
    Scheduler("ddim", "DDIM", ddim, need_inner_model=True),
    Scheduler("beta", "Beta", beta, need_inner_model=True),
]
schedulers_map = {**{item.name: item for item in schedulers}, **{item.label: item for item in schedulers}}
