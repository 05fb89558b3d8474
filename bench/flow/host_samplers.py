"""Samplers that WebUIs have besides k-diffusion's, in k-diffusion's noise levels; what they compute, quirks included.

All take ``model``, ``x`` and ``sigmas``, as k-diffusion's do; what is for showing only (``callback``, ``disable``) is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy
import torch
from torch import Tensor

from bench.flow.libraries import sampling as k

ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
VP_ENDS, VP_START = (0.002, 80.0), 1e-3
"""Noise levels at the first and the last time of the process in whose time DEIS interpolates, and the first time."""
Weights = Callable[[Sequence[float], int], Sequence[float]]
"""From the noise levels and a step's index to the weights of the slopes, the step's own first; as many as are used."""


def multistep(model: Any, x: Tensor, sigmas: Tensor, weights_of: Weights) -> Tensor:
    """A sampler whose step is along a weighted sum of the present slope and of those before."""
    levels, slopes = sigmas.tolist(), []
    for i, (sigma, sigma_next) in enumerate(pairwise(levels)):
        slopes.insert(0, (x - model(x, x.new_full((len(x),), sigma))) / sigma)
        weights = weights_of(levels, i)
        x = x + (sigma_next - sigma) * sum(weight * slope for weight, slope in zip(weights, slopes))
    return x


def sample_ipndm(model: Any, x: Tensor, sigmas: Tensor, **shown: Any) -> Tensor:
    """IPNDM (arXiv 2204.13902): Adams and Bashforth of fourth order, as if all steps were of one length."""
    return multistep(model, x, sigmas, lambda levels, i: ADAMS_BASHFORTH[min(i, 3)])


def sample_ipndm_v(model: Any, x: Tensor, sigmas: Tensor, **shown: Any) -> Tensor:
    """IPNDM_V: the same for steps of different lengths, with Forge's slips."""
    return multistep(model, x, sigmas, _variable_weights)


def _variable_weights(levels: Sequence[float], i: int) -> Sequence[float]:
    """Newton's divided differences of the slopes, weighted.

    Forge's are not Adams' and Bashforth's: a factor of the second difference is in the wrong place (which shows where steps
    differ in length), the third has a wrong share, and as its last ratio that of later steps.
    """
    h, *before = [levels[j + 1] - levels[j] for j in range(i, max(i - 4, -1), -1)]
    first, weights = numpy.array([1.0, -1, 0, 0]), numpy.array([1.0, 0, 0, 0])
    if before:
        weights += h / before[0] / 2 * first
    if len(before) > 1:
        h1, h2 = before[:2]
        second = first - h1 / h2 * numpy.roll(first, 1)
        way = h * (h + h1) / (h1 * (h1 + h2))
        weights += (1 - h / (3 * (h + h1)) * way) / 2 * second
    if len(before) > 2:
        h3 = before[2]
        third = second - h1 * (h1 + h2) / (h2 * (h2 + h3)) * numpy.array([0, 1, -1 - h2 / h3, h1 / h2])
        share = (1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))
        weights += share * way * (h + h1 + h2) / (h1 + h2 + h3) * third
    return weights[: len(before) + 1]


def sample_deis(model: Any, x: Tensor, sigmas: Tensor, **shown: Any) -> Tensor:
    """DEIS (arXiv 2204.13902, tAB): slopes interpolated in the time of a variance-preserving process, third order."""
    return multistep(model, x, sigmas, _interpolating_weights)


def _interpolating_weights(levels: Sequence[float], i: int) -> Sequence[float]:
    """Mean over the step's noise levels of Lagrange's polynomials in time; Euler's where the step ends at 0."""
    start, end = levels[i], levels[i + 1]
    if end == 0:
        return (1.0,)
    times = [vp_time(level) for level in levels[max(i - 2, 0) : i + 1]][::-1]
    places, shares = numpy.polynomial.legendre.leggauss(64)  # of ln sigma: exact to many digits
    logs = numpy.log(start) + (places + 1) / 2 * numpy.log(end / start)
    density = shares / 2 * numpy.log(end / start) * numpy.exp(logs) / (end - start)
    taus = vp_time(numpy.exp(logs))
    return [float((density * _lagrange(times, j, taus)).sum()) for j in range(len(times))]


def _lagrange(times: Sequence[float], j: int, at: numpy.ndarray) -> numpy.ndarray:
    others = [time for i, time in enumerate(times) if i != j]
    return numpy.prod([(at - other) / (times[j] - other) for other in others], axis=0) * numpy.ones_like(at)


def vp_time(sigma: Any) -> Any:
    """The time at which the variance-preserving process of EDM (arXiv 2206.00364, table 1) has a noise level.

    Its betas are such that 0.002 is at time 0.001, and 80 at time 1.
    """
    low, high = numpy.log1p(VP_ENDS[0] ** 2), numpy.log1p(VP_ENDS[1] ** 2)
    slope = 2 * (low / VP_START - high) / (VP_START - 1)
    start = high - slope / 2
    return (numpy.sqrt(start**2 + 2 * slope * numpy.log1p(numpy.square(sigma))) - start) / slope


def sample_heunpp2(model: Any, x: Tensor, sigmas: Tensor, **shown: Any) -> Tensor:
    """HeunPP2: slopes here and at the next two noise levels, weighted by these levels' shares of the schedule's first."""
    levels, steps = sigmas.tolist(), len(sigmas) - 1
    for i in range(steps):
        slopes, ahead = [], x
        for sigma, sigma_next in list(pairwise(levels))[i : i + 3]:
            slopes.append((ahead - model(ahead, x.new_full((len(x),), sigma))) / sigma)
            ahead = ahead + slopes[-1] * (sigma_next - sigma)
        shares = [levels[i + j] / (len(slopes) * levels[0]) for j in range(1, len(slopes))]
        slope = slopes[0] * (1 - sum(shares)) + sum(share * ahead for share, ahead in zip(shares, slopes[1:]))
        x = x + slope * (levels[i + 1] - levels[i])
    return x


def sample_ddpm(
    model: Any, x: Tensor, sigmas: Tensor, noise_sampler: Callable[..., Tensor] | None = None, **shown: Any
) -> Tensor:
    """DDPM (arXiv 2006.11239, algorithm 2), on the variance-preserving latent."""
    noise = noise_sampler or k.default_noise_sampler(x)
    for sigma, sigma_next in pairwise(sigmas):
        alpha_bar, next_bar = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
        alpha, eps = alpha_bar / next_bar, (x - model(x, sigma.expand(len(x)))) / sigma
        mean = (x * alpha_bar.sqrt() - (1 - alpha) * eps / (1 - alpha_bar).sqrt()) / alpha.sqrt()
        spread = ((1 - alpha) * (1 - next_bar) / (1 - alpha_bar)).sqrt()
        x = (mean + spread * noise(sigma, sigma_next) if sigma_next > 0 else mean) / next_bar.sqrt()
    return x


def sample_restart(model: Any, x: Tensor, sigmas: Tensor, **shown: Any) -> Tensor:
    """Restart (arXiv 2306.14878) as A1111 does it: Heun's steps, from 20 on with jumps from about 0.1 back up to about 2."""
    levels = restart_levels(sigmas)
    for sigma, sigma_next in pairwise(levels):
        if sigma_next > sigma:
            x = x + torch.randn_like(x) * (sigma_next**2 - sigma**2) ** 0.5
            continue
        slope = (x - model(x, sigma.expand(len(x)))) / sigma
        ahead = x + slope * (sigma_next - sigma)
        if sigma_next > 0:
            slope = (slope + (ahead - model(ahead, sigma_next.expand(len(x)))) / sigma_next) / 2
        x = x + slope * (sigma_next - sigma)
    return x


def restart_levels(sigmas: Tensor) -> Tensor:
    """The noise levels that Restart goes through, jumps included."""
    steps = len(sigmas) - 1
    if steps < 20:
        return sigmas
    length, times = (9, 1) if steps < 36 else (steps // 4, 2)
    main = k.get_sigmas_karras(steps - length * times, float(sigmas[-2]), float(sigmas[0])).to(sigmas)
    low, high = (int((main - level).abs().argmin()) for level in (0.1, 2))
    again = k.get_sigmas_karras(length + 1, float(main[low]), float(main[high])).to(sigmas)[:-1]
    return torch.cat([main[: low + 1], *[again] * times, main[low + 1 :]])


def sample_lcm(model: Any, x: Tensor, sigmas: Tensor, **shown: Any) -> Tensor:
    """LCM (arXiv 2310.04378): the denoised image, then fresh noise."""
    for sigma, sigma_next in pairwise(sigmas):
        x = model(x, sigma.expand(len(x)))
        x = x + sigma_next * torch.randn_like(x)
    return x


def sample_plms(model: Any, x: Tensor, sigmas: Tensor, **shown: Any) -> Tensor:
    """PLMS (arXiv 2202.09778): IPNDM whose first step is Heun's."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        slope = (x - model(x, sigma.expand(len(x)))) / sigma
        if i == 0:
            slopes, ahead = [], x + (sigma_next - sigma) * slope
            mixed = (slope + (ahead - model(ahead, sigma_next.expand(len(x)))) / sigma_next) / 2
        else:
            mixed = sum(weight * known for weight, known in zip(ADAMS_BASHFORTH[len(slopes)], [slope, *slopes]))
        x, slopes = x + (sigma_next - sigma) * mixed, [slope, *slopes][:3]
    return x
