"""Terms of perturbed guidance and what scales them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.ops.guidance import adaptive_scale, perturbed_term, rescale_term
from tests.support import noise_of

X, Y, Z = (noise_of(seed, 2, 4, 8, 8) for seed in (1, 2, 3))
shares, times, scales = st.floats(0, 1), st.floats(0, 999), st.floats(0, 100)


def test_the_term_is_linear_in_its_scale_and_zero_at_0():
    torch.testing.assert_close(perturbed_term(X, Y, 3.0), 3 * perturbed_term(X, Y, 1.0))
    assert not perturbed_term(X, Y, 0.0).any()
    assert not perturbed_term(X, X, 3.0).any()
    torch.testing.assert_close(X + perturbed_term(X, Y, -1.0), Y)  # it points away from the perturbed prediction


@given(scales, times)
def test_adaptive_0_is_constant(scale: float, time: float):
    assert adaptive_scale(scale, 0.0, time) == scale


@given(scales, shares, times, times)
def test_adaptive_fades_towards_the_end_and_never_below_0(scale: float, adaptive: float, one: float, other: float):
    late, early = (adaptive_scale(scale, adaptive, time) for time in sorted((one, other)))
    assert 0 <= late <= early <= scale


def test_adaptive_is_pamparamms_formula():
    assert adaptive_scale(3.0, 0.1, 500.0) == pytest.approx(3 - 3 * 0.0001 * 500)
    assert adaptive_scale(3.0, 1.0, 998.0) == 0.0


def test_rescale_0_is_bit_equal():
    assert rescale_term(X, Y, Z, 0.0) is X


def test_rescale_1_gives_the_result_the_contrast_of_cond():
    result = rescale_term(3 * X, Y, torch.zeros_like(X), 1.0)
    torch.testing.assert_close(result.std(dim=(1, 2, 3)), Y.std(dim=(1, 2, 3)))


@pytest.mark.parametrize("rescale", [0.25, 0.7, 1.0])
def test_rescale_is_pamparamms_formula_per_image(rescale: float):
    result = rescale_term(X, Y, Z, rescale)
    for image in range(2):
        factor = rescale * Y[image].std() / (Z[image] + X[image]).std() + 1 - rescale
        torch.testing.assert_close(result[image], X[image] * factor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_rescale_stays_finite_on_constant_maps_and_in_half_precision(dtype: torch.dtype):
    flat = torch.zeros(1, 4, 8, 8, dtype=dtype)
    for term, cond, guided in ((flat, flat, flat), (X, Y, Z), (1000 * X, 1000 * Y, 1000 * Z), (flat, X[:1], flat)):
        assert rescale_term(term.to(dtype), cond.to(dtype), guided.to(dtype), 1.0).isfinite().all()
