"""The GPU's bench, on the CPU: all that it measures has values, what fails is told, and nothing else stops."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from itertools import count
from pathlib import Path

import pytest
import torch
from ldm.modules.attention import CrossAttention

from bench.speed import cases, gpu
from bench.speed.cases import CASES, Measurement, Row
from bench.speed.device import CpuDevice, CudaDevice, Replay
from bench.speed.host import bench_host
from lib_sdfm.catalog import SCHEMA
from tests.hosts.test_tail import rows_through
from tests.hosts.variety import CPU

ROOT = Path(__file__).parents[2]
SIZE = 32
SHORT = ("--tiny", "--cpu", "--steps", "3", "--rounds", "1", "--size", str(SIZE))
CASES_OF_TEST = ("off", "pag", "cfgpp", "flow", "all")
NO_GUIDANCE = ("guidance", "refiner_sync", "hires_cfg")


def run(folder, *arguments):
    path = folder / "out.json"
    code = gpu.main([*SHORT, "--json", str(path), *arguments])
    return code, json.loads(path.read_text(encoding="utf8"))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    forward = CrossAttention.forward
    code, report = run(tmp_path_factory.mktemp("gpu"), "--images", "1", "--cases", *CASES_OF_TEST)
    assert code == 0 and CrossAttention.forward is forward
    return report


def test_it_starts_on_a_machine_that_has_torch_and_little_else():
    """In a process of its own: here the libraries have been prepared for all tests."""
    done = subprocess.run([sys.executable, "-m", "bench.speed.gpu", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--images" in done.stdout, done.stderr


def test_every_technique_is_measured():
    asked = {name for case in CASES.values() for name in case.request or {}}
    assert {technique.name for technique in SCHEMA.techniques} - set(NO_GUIDANCE) <= asked


def test_every_case_has_all_its_values(found):
    rows = {row["case"]: row for row in found["cases"]}
    assert set(rows) == set(CASES_OF_TEST)
    for row in rows.values():
        assert list(row) == [field.name for field in fields(Row)]
        assert row["error"] is None and row["finite"] and row["off_equal"] and row["method"] == "clock"
        assert row["ratio"] == pytest.approx(row["gpu_ms"] / row["off_gpu_ms"])
        assert row["gpu_ms"] > 0 and row["wall_ms"] > 0 and row["peak_mb"] == 0


def test_waits_are_counted(found):
    waits = {row["case"]: row["waits_per_step"] for row in found["cases"]}
    assert waits["off"] == waits["pag"] == 0
    assert waits["cfgpp"] > 0 and waits["flow"] > 0 and waits["all"] > 0


def test_the_header_names_machine_and_model(found):
    assert found["torch"] == torch.__version__ and found["device"] and found["parameters"] > 1e6
    assert (found["size"], found["steps"], found["rounds"]) == (SIZE, 3, 1)


def test_filter_and_prefix(found):
    assert len(found["freeu_filter"]) == 64
    assert all(row["finite"] and row["max_relative_error"] < 1e-3 for row in found["freeu_filter"])
    half, single = found["prefix_against_whole"]
    assert (half["dtype"], single["dtype"]) == ("float16", "float32")
    assert half["relative_difference"] < 0.01 and single["relative_difference"] < 1e-5


def test_a_case_that_fails_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(CASES, "pag", replace(CASES["pag"], request={"pag": {"scale": -5}}))
    monkeypatch.setattr(gpu, "filter_rows", lambda device: [{"finite": True, "max_relative_error": 0.0}])
    code, report = run(tmp_path, "--images", "2", "--cases", "pag", "off")
    failed, off = report["cases"]
    assert code == 1 and "pag.scale" in failed["error"] and failed["gpu_ms"] is None and list(failed) == list(off)
    assert off["error"] is None and off["finite"] and off["images"] == 2
    assert failed["error"] in capsys.readouterr().out
    assert "error" in report["prefix_against_whole"][0]


def test_out_of_memory_is_told_for_each_case(tmp_path, monkeypatch):
    def baseline(self, images):
        raise torch.cuda.OutOfMemoryError("tried to allocate 1 TiB\nmore")

    monkeypatch.setattr(Measurement, "baseline", baseline)
    monkeypatch.setattr(gpu, "filter_rows", lambda device: [])
    monkeypatch.setattr(gpu, "prefix_row", lambda host, size: {})
    code, report = run(tmp_path, "--cases", "off", "pag", "--images", "4")
    assert code == 1
    errors = [row["error"] for row in report["cases"]]
    assert len(errors) == 2 and all("out of memory" in error and error.endswith("1 TiB") for error in errors)


def test_waits_are_what_torch_warns_of(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    with CudaDevice().waits() as waited:
        for text in ("called a synchronizing CUDA operation (somewhere)", "another warning") * 2:
            warnings.warn(text, stacklevel=1)
        assert waited() == 2
    assert modes == ["warn", "default"]


class Repeating(CpuDevice):
    """A CPU that says that it has graphs; repeating one does nothing."""

    can_replay = True

    def __init__(self, waits, refuses):
        self._waits, self._refuses, self._captured = count(step=waits), refuses, 0

    @contextmanager
    def waits(self):
        yield lambda: next(self._waits)

    def capture(self, call):
        self._captured += 1
        if self._captured == self._refuses:
            raise RuntimeError("operation not permitted when stream is capturing")
        return Replay(call(), lambda: None, call)


@pytest.mark.parametrize(
    "waits, refuses, method, note",
    [
        (0, 0, "graph", None),
        (2, 0, "clock", "waits for the device"),
        (0, 2, "clock", "no graph: RuntimeError: operation not permitted when stream is capturing"),
    ],
)
def test_a_graph_is_used_where_nothing_waits(waits, refuses, method, note):
    with bench_host(gpu.TINY, CPU, torch.float16) as host:
        bench = Measurement(Repeating(waits, refuses), host, None, SIZE, steps=4, rounds=1)
        row = bench.row("pag", 1, bench.baseline(1))
    assert (row.method, row.note, row.error, row.waits_per_step) == (method, note, None, waits)
    assert row.graph_equal is (True if method == "graph" else None)


def test_whole_passes_are_whole():
    """In the first step the host's calls are repeated once more, to be compared."""
    with bench_host(gpu.TINY, CPU, torch.float32) as host:
        encoder, decoder = host.unet.input_blocks[0], host.unet.output_blocks[-1]
        ways = {nullcontext: ([2], [3]), cases.rows_apart: ([2], [1, 2]), cases.whole_passes: ([2, 2, 2], [2, 2, 2])}
        for around, expected in ways.items():
            with around(host.unet), rows_through(encoder) as first, rows_through(decoder) as last:
                host.samples({"pag": True}, 64, images=1, steps=1)
            assert (first, last) == expected


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main(["--tiny"])
    assert "--cpu" in capsys.readouterr().err
