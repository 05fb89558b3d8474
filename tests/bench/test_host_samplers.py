"""The samplers that the benchmark has of its own, against what is known of their methods."""

from __future__ import annotations

import pytest
import torch
from scipy import integrate

from bench.flow import host_samplers
from bench.flow.analytic import AnalyticFlow, ExplodingModel
from bench.flow.libraries import sampling as k

FLOW = AnalyticFlow.drawn(1, 2, (0.4, 0.6))
NOISE = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
GEOMETRIC = torch.cat([torch.logspace(2, -2, 12, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
EVEN = torch.linspace(10, 0, 12, dtype=torch.float64)


class Slopes:
    """A model whose slope is a polynomial of the noise level."""

    def __init__(self, degree: int) -> None:
        self.degree = degree

    def __call__(self, x, sigma):
        return x - sigma.view(-1, 1, 1, 1) * (1 + sigma.view(-1, 1, 1, 1)) ** self.degree

    def way(self, start: float, end: float) -> float:
        return ((1 + end) ** (self.degree + 1) - (1 + start) ** (self.degree + 1)) / (self.degree + 1)


def final(sampler, model, sigmas, skipped: int) -> float:
    """Return what the steps after the first ones add, by a run whose first steps are subtracted."""
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    return float(sampler(model, zero, sigmas) - sampler(model, zero, sigmas[: skipped + 1]))


IPNDM = [(host_samplers.sample_ipndm, degree) for degree in range(4)]
IPNDM_V = [(host_samplers.sample_ipndm_v, degree) for degree in range(3)]


@pytest.mark.parametrize(("sampler", "degree"), IPNDM + IPNDM_V)
def test_even_steps_are_exact_for_slopes_up_to_a_degree(sampler, degree: int):
    """Forge's IPNDM_V is of third order where Adams and Bashforth are of fourth."""
    model = Slopes(degree)
    assert final(sampler, model, EVEN, 3) == pytest.approx(model.way(float(EVEN[3]), 0.0), rel=1e-9)


def test_ipndm_v_is_exact_for_two_slopes_of_any_distance():
    sigmas, model = torch.tensor([5.0, 3.0, 2.5], dtype=torch.float64), Slopes(1)
    assert final(host_samplers.sample_ipndm_v, model, sigmas, 1) == pytest.approx(model.way(3.0, 2.5))


def test_deis_interpolates_in_the_process_time():
    times = [host_samplers.vp_time(float(sigma)) for sigma in GEOMETRIC[:5]]

    class Model:
        def __call__(self, x, sigma):
            return x - sigma.view(-1, 1, 1, 1) * host_samplers.vp_time(float(sigma)) ** 2

    wanted, _ = integrate.quad(lambda sigma: host_samplers.vp_time(sigma) ** 2, float(GEOMETRIC[2]), float(GEOMETRIC[4]))
    assert final(host_samplers.sample_deis, Model(), GEOMETRIC[:5], 2) == pytest.approx(wanted, rel=1e-8)
    assert times == sorted(times, reverse=True)
    assert host_samplers.vp_time(0.002) == pytest.approx(0.001) and host_samplers.vp_time(80.0) == pytest.approx(1.0)


def test_ddpm_is_euler_a():
    def same_noise(x):
        generator = torch.Generator().manual_seed(4)
        return lambda sigma, sigma_next: torch.randn(x.shape, generator=generator, dtype=x.dtype)

    start = NOISE * GEOMETRIC[0]
    ours = host_samplers.sample_ddpm(ExplodingModel(FLOW), start, GEOMETRIC, noise_sampler=same_noise(start))
    known = k.sample_euler_ancestral(ExplodingModel(FLOW), start, GEOMETRIC, disable=True, noise_sampler=same_noise(start))
    torch.testing.assert_close(ours, known, rtol=0, atol=1e-10)


def test_restart_without_jumps_is_heun():
    start = NOISE * GEOMETRIC[0]
    known = k.sample_heun(ExplodingModel(FLOW), start, GEOMETRIC, disable=True)
    torch.testing.assert_close(host_samplers.sample_restart(ExplodingModel(FLOW), start, GEOMETRIC), known)


@pytest.mark.parametrize("steps, jumps", [(19, 0), (20, 1), (36, 2)])
def test_restart_jumps_back_up_from_twenty_steps_on(steps: int, jumps: int):
    levels = host_samplers.restart_levels(k.get_sigmas_karras(steps, 0.03, 14.6))
    assert int((levels.diff() > 0).sum()) == jumps and levels[-1] == 0


def test_heunpp2_ends_with_heun_s_weighted_step_and_euler_s():
    """Its two last steps, from a level where nothing else is left of its schedule, are what flow matching makes of all."""
    from lib_sdfm.ops.flow_time import heun_weighted

    sigmas = GEOMETRIC[-3:]
    start = NOISE * sigmas[0]
    known = heun_weighted(ExplodingModel(FLOW), start, sigmas)
    torch.testing.assert_close(host_samplers.sample_heunpp2(ExplodingModel(FLOW), start, sigmas), known)
