"""Samplers that renoise with the unconditional prediction: CFG++ (arXiv 2406.08070), in k-diffusion's noise levels.

The model provides its unconditional prediction (:class:`~lib_sdfm.ops.descent.GuidedModel`); the CFG scale is the paper's
lambda. If the unconditional prediction equals the guided one, each sampler (except 2S) is the plain one of its name. Higher
orders follow the other implementations of these names: the paper doesn't say which of their terms is unconditional.
"""

from __future__ import annotations

import math

from torch import Tensor

from .descent import Descent, Level, ancestral_levels, cfgpp_step, sampler


@sampler
def sample_euler_cfgpp(descent: Descent) -> None:
    """Sample with Euler: algorithm 2 of the paper."""
    for at in descent:
        descent.x = cfgpp_step(descent.x, at.denoised, at.uncond, at.ratio)


@sampler
def sample_euler_ancestral_cfgpp(descent: Descent, eta: float = 1.0) -> None:
    """Sample with Euler to a lower noise level, then add noise (DDIM with eta)."""
    for at in descent:
        down, up = ancestral_levels(at.sigma, at.sigma_next, eta)
        descent.x = cfgpp_step(descent.x, at.denoised, at.uncond, down / at.sigma)
        descent.x = descent.x + descent.noise(at.sigma, at.sigma_next, up)


@sampler
def sample_dpmpp_2m_cfgpp(descent: Descent) -> None:
    """Sample with DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2).

    The second order uses the difference to the previous unconditional prediction.
    """
    before: Level | None = None
    for at in descent:
        descent.x = cfgpp_step(descent.x, at.denoised, at.uncond, at.ratio)
        if before is not None and at.sigma_next > 0 and before.length > 0:
            extrapolated = at.length / (2 * before.length)
            descent.x = descent.x + (at.denoised - before.uncond) * ((1 - at.ratio) * extrapolated)
        before = at


@sampler
def sample_dpmpp_2s_ancestral_cfgpp(descent: Descent, eta: float = 1.0) -> None:
    """Sample with DPM-Solver++(2S) (arXiv 2211.01095, algorithm 1, r = 1/2) to a lower noise level, then add noise.

    As in every implementation of this name, the guided and the unconditional prediction of the last term come from
    different calls; so this isn't the plain sampler if they are equal.
    """
    for at in descent:
        down, up = ancestral_levels(at.sigma, at.sigma_next, eta)
        ratio = down / at.sigma
        if down == 0:
            descent.x = at.denoised
        else:
            half = math.sqrt(ratio)
            denoised, uncond = descent.predict(cfgpp_step(descent.x, at.denoised, at.uncond, half), at.sigma * half)
            descent.x = (descent.x + at.denoised - uncond) * ratio + denoised * (1 - ratio)
        descent.x = descent.x + descent.noise(at.sigma, at.sigma_next, up)


@sampler
def sample_dpmpp_sde_cfgpp(descent: Descent, eta: float = 1.0) -> None:
    """Sample with DPM-Solver++(2S) as an SDE: a plain step to the middle, then CFG++'s with the predictions from there."""
    for at in descent:
        if at.sigma_next == 0:
            descent.x = at.denoised
            continue
        middle = math.sqrt(at.sigma * at.sigma_next)
        down, up = ancestral_levels(at.sigma, middle, eta)
        halfway = cfgpp_step(descent.x, at.denoised, at.denoised, down / at.sigma)
        denoised, uncond = descent.predict(halfway + descent.noise(at.sigma, middle, up), middle)
        down, up = ancestral_levels(at.sigma, at.sigma_next, eta)
        descent.x = cfgpp_step(descent.x, denoised, uncond, down / at.sigma)
        descent.x = descent.x + descent.noise(at.sigma, at.sigma_next, up)


@sampler
def sample_dpmpp_2m_sde_cfgpp(descent: Descent, eta: float = 1.0) -> None:
    """Sample with DPM-Solver++(2M) as an SDE (k-diffusion's, midpoint); its difference is that of the guided predictions."""
    before: Level | None = None
    for at in descent:
        if at.sigma_next == 0:
            descent.x = at.denoised
            continue
        ratio = math.exp(-at.length * (1 + eta))
        descent.x = cfgpp_step(descent.x, at.denoised, at.uncond, ratio)
        if before is not None and before.length > 0:
            extrapolated = at.length / (2 * before.length)
            descent.x = descent.x + (at.denoised - before.denoised) * ((1 - ratio) * extrapolated)
        descent.x = descent.x + descent.noise(at.sigma, at.sigma_next, _sde_noise(at, eta))
        before = at


@sampler
def sample_dpmpp_3m_sde_cfgpp(descent: Descent, eta: float = 1.0) -> None:
    """Sample with DPM-Solver++(3M) as an SDE (k-diffusion's); its differences are those of the guided predictions."""
    before: list[Level] = []  # latest first
    for at in descent:
        if at.sigma_next == 0:
            descent.x = at.denoised
            continue
        length = at.length * (1 + eta)
        descent.x = cfgpp_step(descent.x, at.denoised, at.uncond, math.exp(-length)) + _differences(at, before, length)
        descent.x = descent.x + descent.noise(at.sigma, at.sigma_next, _sde_noise(at, eta))
        before = [at, *before[:1]]


def _sde_noise(at: Level, eta: float) -> float:
    """Return the level of the noise that an SDE solver adds at the end of a step."""
    return at.sigma_next * math.sqrt(-math.expm1(-2 * eta * at.length))


def _differences(at: Level, before: list[Level], length: float) -> Tensor | float:
    """Return the second- and third-order terms of a step: divided differences of the previous predictions."""
    if not before or not length or not all(level.length for level in before):
        return 0.0
    second = math.expm1(-length) / length + 1
    nearer = before[0].length / at.length
    first = (at.denoised - before[0].denoised) / nearer
    if len(before) == 1:
        return first * second
    farther = before[1].length / at.length
    change = (first - (before[0].denoised - before[1].denoised) / farther) / (nearer + farther)
    return (first + change * nearer) * second - change * (second / length - 0.5)


@sampler
def sample_res_multistep_cfgpp(descent: Descent) -> None:
    """Sample with second-order RES as a multistep method."""
    _res_multistep(descent, eta=0.0)


@sampler
def sample_res_multistep_ancestral_cfgpp(descent: Descent, eta: float = 1.0) -> None:
    """Sample with second-order RES as a multistep method to a lower noise level, then add noise."""
    _res_multistep(descent, eta)


def _res_multistep(descent: Descent, eta: float) -> None:
    """Sample with second-order RES (arXiv 2308.02157); its one node is the last step's unconditional prediction."""
    uncond_before, length_before = None, 0.0  # lengths without the noise
    for at in descent:
        down, up = ancestral_levels(at.sigma, at.sigma_next, eta)
        ratio = down / at.sigma
        length = -math.log(ratio) if down else math.inf
        if uncond_before is None or not 0 < length < math.inf or not length_before:
            descent.x = cfgpp_step(descent.x, at.denoised, at.uncond, ratio)
        else:
            weight = (1 - (1 - ratio) / length) * length / length_before  # h phi_2 / c_2
            predicted = at.uncond * (1 - ratio + weight) - uncond_before * weight
            descent.x = (descent.x + at.denoised - at.uncond) * ratio + predicted
        descent.x = descent.x + descent.noise(at.sigma, at.sigma_next, up)
        uncond_before, length_before = at.uncond, length


@sampler
def sample_gradient_estimation_cfgpp(descent: Descent, ge_gamma: float = 2.0) -> None:
    """Sample with gradient estimation (arXiv 2306.04848): a step along ``gamma * d + (1 - gamma) * d_before``."""
    before: Tensor | None = None
    for at in descent:
        direction = (descent.x - at.uncond) / at.sigma
        descent.x = at.denoised + direction * at.sigma_next
        if before is not None and at.sigma_next > 0:
            descent.x = descent.x + (direction - before) * ((ge_gamma - 1) * (at.sigma_next - at.sigma))
        before = direction
