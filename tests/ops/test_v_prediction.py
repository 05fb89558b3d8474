"""v-prediction's conversions, and noise tables with zero terminal SNR."""

from __future__ import annotations

import pytest
import torch

from lib_sdfm.ops.flow_probe import noise_table
from lib_sdfm.ops.v_prediction import (
    eps_to_v,
    has_zero_terminal_snr,
    table_to_level,
    v_to_denoised,
    v_to_eps,
    with_zero_terminal_snr,
)

LEVELS = torch.tensor([0.03, 0.5, 1.0, 14.6, 4518.0], dtype=torch.float64).view(-1, 1, 1, 1)
IMAGE, NOISE = torch.randn(2, 5, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
ALPHA = (1 + LEVELS**2) ** -0.5
X, V = ALPHA * IMAGE + LEVELS * ALPHA * NOISE, ALPHA * NOISE - LEVELS * ALPHA * IMAGE


def sigmas(table: torch.Tensor) -> torch.Tensor:
    return ((1 - table) / table) ** 0.5


def test_conversions_agree_with_the_definition():
    assert torch.allclose(v_to_eps(V, X, LEVELS), NOISE) and torch.allclose(v_to_denoised(V, X, LEVELS), IMAGE)
    assert torch.allclose(eps_to_v(NOISE, X, LEVELS), V, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rescaled_table_is_the_one_of_other_webuis(dtype: torch.dtype):
    table = with_zero_terminal_snr(noise_table().to(dtype))
    assert table.dtype == dtype and float(table[-1]) == pytest.approx(4.8973451890853435e-08)
    assert sigmas(table.double())[[998, 999]].tolist() == pytest.approx([2254.24, 4518.76], rel=1e-5)
    assert float(table[0]) == pytest.approx(float(noise_table()[0])) and (table.diff() < 0).all()
    assert has_zero_terminal_snr(table) and not has_zero_terminal_snr(noise_table())


def test_a_table_is_not_changed_in_place():
    table = noise_table()
    with_zero_terminal_snr(table)
    assert torch.equal(table, noise_table())


@pytest.mark.parametrize("table", [noise_table(), with_zero_terminal_snr(noise_table())], ids=["plain", "rescaled"])
def test_levels_between_the_entries_are_k_diffusion_s(table: torch.Tensor):
    from k_diffusion.external import DiscreteSchedule

    wanted = sigmas(table.float())
    schedule = DiscreteSchedule(wanted, quantize=False)
    places = torch.tensor([0.0, 0.5, 500.25, 998.0, 998.7, 999.0])
    assert torch.allclose(table_to_level(places, table), schedule.t_to_sigma(places), rtol=1e-4)
    assert torch.allclose(table_to_level(torch.arange(1000), table), wanted, rtol=1e-4)
