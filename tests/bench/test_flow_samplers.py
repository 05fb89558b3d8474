"""Promises of flow mode about samplers, measured as ``bench/flow/samplers.py`` does."""

from __future__ import annotations

import json
import subprocess
import sys

import k_diffusion.sampling as k
import pytest
import torch

from bench.flow.analytic import AnalyticFlow, ExplodingModel, TimeModel
from bench.flow.samplers import DOCUMENT, FIXED, OWN_GRIDS, ROOT, Bench, is_noisy, rows_of
from bench.flow.table import KIND, LEFT_OUT, refreshed, table
from lib_sdfm.ops.flow import LATEST_TIME
from lib_sdfm.ops.flow_schedules import flow_times, times_to_sigmas
from lib_sdfm.sampling.flow import AUTOMATIC
from tests.pairs import in_pairs

DETERMINISTIC = [name for name, sampler in FIXED.items() if not sampler.noisy]

BEGIN, END = f"<!-- {KIND} -->\n", "<!-- end -->"


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def test_the_exact_result_is_where_small_steps_end():
    flow = AnalyticFlow.drawn(1, 3, (0.3, 0.6))
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.tensor(flow_times("Beta", 400, 1.0), dtype=torch.float64)
    torch.testing.assert_close(k.sample_heun(TimeModel(flow), noise, times, disable=True), flow.exact(noise), rtol=0, atol=2e-3)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_is_comfyui_s_up_to_the_cap(bench: Bench, shift: float):
    times = flow_times("Normal", 20, shift)
    sigmas = torch.tensor(times_to_sigmas(times, LATEST_TIME), dtype=torch.float64)
    ours = k.sample_euler(ExplodingModel(bench.flow), bench.noise * sigmas[0], sigmas, disable=True)
    capped = torch.tensor([min(t, LATEST_TIME) for t in times], dtype=torch.float64)
    in_time = k.sample_euler(TimeModel(bench.flow), bench.noise * capped[0], capped, disable=True)
    torch.testing.assert_close(ours, in_time, rtol=0, atol=1e-11)
    comfyui = k.sample_euler(TimeModel(bench.flow), bench.noise, torch.tensor(times, dtype=torch.float64), disable=True)
    assert float((ours - comfyui).abs().median()) < 1e-4 and float((ours - comfyui).abs().max()) < 5e-3


@in_pairs(name=DETERMINISTIC, shift=[1.0, 3.0, 6.0], calls=[20, 40])
def test_no_deterministic_sampler_is_worse_than_euler(bench: Bench, name: str, calls: int, shift: float):
    assert bench.error(name, AUTOMATIC, shift, calls) <= 1.05 * bench.error("Euler", AUTOMATIC, shift, calls)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("name, share", [("DPM++ 2M", 1 / 2), ("Heun", 1 / 3), ("DPM2", 1 / 3), ("LMS", 1 / 3)])
def test_higher_order_pays(bench: Bench, name: str, share: float, shift: float):
    assert bench.error(name, AUTOMATIC, shift, 40) <= share * bench.error("Euler", AUTOMATIC, shift, 40)


@pytest.mark.parametrize("name", ["PLMS", "DPM fast"])
def test_own_grids_are_no_worse_than_euler_s_with_enough_calls(bench: Bench, name: str):
    assert bench.error(name, AUTOMATIC, 3.0, 40) <= bench.error("Euler", AUTOMATIC, 3.0, 40)


def test_ddim_is_euler(bench: Bench):
    assert bench.error("DDIM", AUTOMATIC, 3.0, 20) == pytest.approx(bench.error("Euler", AUTOMATIC, 3.0, 20), rel=0.01)


def test_euler_a_converges_where_sigma_t_does_not(bench: Bench):
    few, many = (bench.error("Euler a", AUTOMATIC, 3.0, calls) for calls in (10, 60))
    assert many < few / 2
    assert bench.error("Euler a", AUTOMATIC, 3.0, 60, naive=True) > 2 * many


@pytest.mark.parametrize("name", OWN_GRIDS)
def test_own_grids_have_rows(name: str):
    (row,) = rows_of(name, [1.0], [20])
    assert row["error"] < (0.3 if name == "LCM" else 0.1) and row["error_naive"] is None


def test_the_benchmark_prints_rows():
    command = [sys.executable, "-m", "bench.flow.samplers", "--json", "--samplers", "LMS", "--shifts", "3", "--calls", "20"]
    rows = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout)["rows"]
    assert [row["schedule"] for row in rows] == ["Automatic", "Normal", "Beta"]
    assert set(rows[0]) == {"sampler", "schedule", "shift", "calls", "error", "error_naive", "error_euler"}
    assert rows[0]["error"] < rows[0]["error_euler"]


def test_the_document_has_a_line_for_each_sampler_as_measured():
    """If not: ``python -m bench.flow.samplers --document``."""
    text = DOCUMENT.read_text(encoding="utf8")
    lines = {line.split(" | ")[0][2:]: line for line in text.split(BEGIN)[1].split(END)[0].splitlines()[2:]}
    assert set(lines) == {*FIXED, *OWN_GRIDS, "*stochastic*"} - set(LEFT_OUT)
    rows = [row for name in ("HeunPP2", "PLMS") for row in rows_of(name, [3.0])]
    for line in table(rows, is_noisy).splitlines()[2:4]:
        assert line == lines[line.split(" | ")[0][2:]]


def test_only_what_stands_between_the_marks_is_made_anew():
    rows = list(rows_of("PLMS", [3.0]))
    text = f"before\n{BEGIN}old\n{END}\nafter {END}"
    new = refreshed(text, rows, is_noisy)
    assert new == f"before\n{BEGIN}{table(rows, is_noisy)}{END}\nafter {END}" and refreshed(new, rows, is_noisy) == new
