"""Noise and denoised images mean each other."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.ops.spaces import denoised_to_eps, eps_to_denoised
from tests.support import noise_of, stable_diffusion_alphas

DENOISED, EPS = noise_of(1, 2, 4, 8, 8).double(), noise_of(2, 2, 4, 8, 8).double()
alpha_bars = st.sampled_from(stable_diffusion_alphas().tolist())


@given(alpha_bars)
def test_a_noised_image_is_taken_apart(alpha_bar: float):
    x = alpha_bar**0.5 * DENOISED + (1 - alpha_bar) ** 0.5 * EPS
    torch.testing.assert_close(eps_to_denoised(EPS, x, alpha_bar), DENOISED)
    torch.testing.assert_close(denoised_to_eps(DENOISED, x, alpha_bar), EPS)


@given(alpha_bars)
def test_there_and_back_is_the_same(alpha_bar: float):
    x = noise_of(3, 2, 4, 8, 8).double()
    torch.testing.assert_close(denoised_to_eps(eps_to_denoised(EPS, x, alpha_bar), x, alpha_bar), EPS)
    torch.testing.assert_close(eps_to_denoised(denoised_to_eps(EPS, x, alpha_bar), x, alpha_bar), EPS)


@given(alpha_bars)
def test_float32_is_enough_for_a_round_trip(alpha_bar: float):
    x, eps = noise_of(3, 2, 4, 8, 8), EPS.float()
    torch.testing.assert_close(denoised_to_eps(eps_to_denoised(eps, x, alpha_bar), x, alpha_bar), eps, rtol=1e-3, atol=1e-4)
