"""The buttons and routes of flow matching."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib_sdfm.ops.flow_probe import Recognition
from sdfm_webui.flow import FlowHost
from sdfm_webui.flow_memory import FlowMemory
from sdfm_webui.flow_row import add_flow_routes, proposal


def host(folder: Path, metadata: dict | None = None, probe=None, loaded: bool = True) -> FlowHost:
    info = SimpleNamespace(sha256="abc", name="big.safetensors", name_for_extra="big", metadata=metadata or {})
    model = SimpleNamespace(sd_checkpoint_info=info) if loaded else SimpleNamespace()
    return FlowHost(None, lambda: model, lambda m: m, FlowMemory(folder / "flow_models.json"), probe=probe)


def client(flow: FlowHost) -> TestClient:
    app = FastAPI()
    add_flow_routes(flow, app)
    return TestClient(app)


@pytest.mark.parametrize("said, flow", [("flow", True), ("rectified_flow", True), ("epsilon", False), ("v", False)])
def test_a_file_that_says_what_it_is_is_believed(tmp_path: Path, said: str, flow: bool):
    found = host(tmp_path, {"modelspec.prediction_type": said}, probe=lambda model: 1 / 0).detect()
    assert found["flow"] is flow and said in found["why"]


@pytest.mark.parametrize("flow_error, eps, flow", [(0.3, 0.5, True), (0.5, 0.3, False), (0.31, 0.3, None)])
def test_else_the_model_is_asked(tmp_path: Path, flow_error: float, eps: float, flow: bool | None):
    found = host(tmp_path, probe=lambda model: Recognition({"eps": eps, "v": 1.0, "flow": flow_error})).detect()
    assert found["flow"] is flow
    assert ("On" in proposal(found)) is (flow is not False)


def test_remembering_and_forgetting(tmp_path: Path):
    flow = host(tmp_path)
    api = client(flow)
    assert api.get("/sdfm/v1/flow").json() == {
        "checkpoint": "big", "flow": None, "why": "its file doesn't say", "remembered": None,
    }  # fmt: skip
    assert "shift 6" in api.post("/sdfm/v1/flow", json={"mode": "On", "shift": 6}).json()["message"]
    assert flow.remembered_shift() == 6 and api.get("/sdfm/v1/flow").json()["remembered"] == {"mode": "On", "shift": 6}
    api.post("/sdfm/v1/flow", json={"mode": "Off", "shift": 6})
    assert flow.remembered_shift() is None and flow.memory.get("abc").mode == "Off"
    api.post("/sdfm/v1/flow", json={"mode": "Auto", "shift": 6})
    assert flow.memory.get("abc") is None


@pytest.mark.parametrize("body, named", [({"mode": "Maybe"}, "Flow Matching"), ({"shift": 0}, "Flow Shift")])
def test_bad_values_are_named(tmp_path: Path, body: dict, named: str):
    answer = client(host(tmp_path)).post("/sdfm/v1/flow", json={"mode": "On", "shift": 3, **body})
    assert answer.status_code == 422 and named in answer.text


def test_without_a_checkpoint_there_is_a_message(tmp_path: Path):
    answer = client(host(tmp_path, loaded=False)).get("/sdfm/v1/flow")
    assert answer.status_code == 422 and "no checkpoint" in answer.text
