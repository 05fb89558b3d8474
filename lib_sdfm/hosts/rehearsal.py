"""Which noise levels a sampler will call the model at: found out by letting its function run on nothing."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..prompts.report import Call
from .steps import OWN_STEPS, SamplerSteps

Level = tuple[int, float]
"""A step from 0, and a sigma or timestep in it."""


class _Listener:
    """Stands for the denoiser: hears the level of each call, and predicts nothing.

    :param denoiser: the real one, whose tables a function may look at
    """

    def __init__(self, denoiser: Any, steps: SamplerSteps) -> None:
        self.inner_model = denoiser.inner_model
        self.last_noise_uncond: Tensor | None = None
        self.need_last_noise_uncond = False
        self.cond_scale_miltiplier = 1.0
        self.levels: list[Level] = []
        self._steps = steps

    def __call__(self, x: Tensor, level: Tensor, **kwargs: Any) -> Tensor:
        self.levels.append((self._steps.call(), float(level.max())))
        self.last_noise_uncond = torch.zeros_like(x)
        return torch.zeros_like(x)


def rehearse(sampler: Any, points: Tensor, **told: Any) -> list[Level] | None:
    """Step and level of each call that a sampler will make; ``None`` if only the picture decides.

    :param sampler: a sampler object of the host's, for this alone
    :param points: the sigmas of the pass, descending, or its timesteps, ascending
    :param told: what else the host tells its function (``eta``; where samplers begin and end that make their own steps)
    """
    if sampler.config.name in OWN_STEPS:
        return None
    steps = SamplerSteps(sampler, lambda: None)
    listener = _Listener(sampler.model_wrap_cfg, steps)
    x = torch.zeros(1, 4, 8, 8)
    offered = {
        "sigmas": points, "timesteps": points, "sigma_sched": points, "n": len(points) - 1,
        "noise_sampler": lambda *levels: torch.zeros_like(x), **told,
    }  # fmt: skip
    accepted = inspect.signature(sampler.func).parameters
    arguments = {name: value for name, value in offered.items() if name in accepted}
    with torch.no_grad():
        sampler.func(listener, x, extra_args={}, disable=True, callback=None, **arguments)
    return listener.levels


def expected_calls(
    levels: Sequence[Level], total: int, table: Tensor | None = None, alphas: Tensor | None = None
) -> list[Call]:
    """What the host will think of these calls.

    :param total: calls that the host expects
    :param table: the model's sigmas, ascending, where the host goes by the model's time; ``None``: it counts calls
    :param alphas: alpha_bar by timestep, where levels are timesteps
    """
    calls = []
    for number, (step, level) in enumerate(levels):
        sigma = level if alphas is None else float(((1 - alphas[int(level)]) / alphas[int(level)]) ** 0.5)
        done = number / total
        if table is not None:
            time = int((table - level).abs().argmin()) if alphas is None else int(level)
            done = (999 - time) / 1000
        calls.append(Call(step, sigma, done))
    return calls
