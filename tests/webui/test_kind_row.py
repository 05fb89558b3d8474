"""The buttons and routes of the model kind."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib_sdfm.errors import UserError
from lib_sdfm.ops.flow_probe import Recognition
from lib_sdfm.schema.checkpoint_file import Marks, marks_of
from sdfm_webui.kind_actions import chosen, detect, proposal, title
from sdfm_webui.kind_memory import KindMemory, Remembered
from sdfm_webui.kind_row import add_kind_routes
from sdfm_webui.model_kinds import KindHost

V, FLOW, NOISE = "v-prediction", "Flow matching", "Noise"


def checkpoint(folder: Path, *marks: str) -> str:
    """A file of tensors without elements, with these names."""
    header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in ("weight", *marks)}).encode()
    file = folder / "big.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    return str(file)


def host(
    folder: Path, metadata: dict | None = None, probe=None, loaded: bool = True, own: str | None = None, marks=()
) -> KindHost:
    info = SimpleNamespace(
        sha256="abc", name="big.safetensors", name_for_extra="big", metadata=metadata or {}, filename=checkpoint(folder, *marks)
    )
    model = SimpleNamespace(sd_checkpoint_info=info) if loaded else SimpleNamespace()
    memory = KindMemory(folder / "flow_models.json")
    return KindHost(None, lambda: model, lambda m: m, memory, probe=probe, host_kind=lambda target: own)


def client(kinds: KindHost) -> TestClient:
    app = FastAPI()
    add_kind_routes(kinds, app)
    return TestClient(app)


class TestDetect:
    @pytest.mark.parametrize("said, kind", [
        ("flow", FLOW), ("rectified_flow", FLOW), ("epsilon", NOISE), ("v", V), ("v_prediction", V),
    ])  # fmt: skip
    def test_metadata_are_believed(self, tmp_path: Path, said: str, kind: str):
        found = detect(host(tmp_path, {"modelspec.prediction_type": said}, probe=lambda model: 1 / 0))
        assert found["kind"] == kind and said in found["why"]

    @pytest.mark.parametrize("marks, zero", [(["v_pred"], False), (["v_pred", "ztsnr"], True)])
    def test_marks_are_believed_first(self, tmp_path: Path, marks: list[str], zero: bool):
        said = {"modelspec.prediction_type": "epsilon"}
        found = detect(host(tmp_path, said, probe=lambda model: 1 / 0, marks=marks))
        assert (found["kind"], found["zero_terminal_snr"]) == (V, zero) and "v_pred" in found["why"]

    @pytest.mark.parametrize("errors, kind, flow", [
        ((0.5, 1.0, 0.3), FLOW, True), ((0.3, 1.0, 0.5), NOISE, False), ((1.0, 0.3, 0.5), V, False),
        ((0.31, 0.3, 0.9), None, None), ((0.3, 1.0, 0.31), None, None),
    ])  # fmt: skip
    def test_else_the_model_is_asked(self, tmp_path: Path, errors: tuple[float, ...], kind: str | None, flow: bool | None):
        kinds = host(tmp_path, probe=lambda model: Recognition(dict(zip(("eps", "v", "flow"), errors))))
        found = detect(kinds)
        assert found["kind"] == kind and ("Remember." in proposal(found)) is (kind != NOISE)
        assert client(kinds).get("/sdfm/v1/flow").json()["flow"] is flow

    def test_a_flow_model_that_the_webui_knows_is_not_asked(self, tmp_path: Path):
        found = detect(host(tmp_path, probe=lambda model: 1 / 0, own=FLOW))
        assert found["kind"] == FLOW and "by itself" in proposal(found)

    def test_a_contradiction_is_named(self, tmp_path: Path):
        kinds = host(tmp_path, marks=["v_pred"])
        kinds.memory.put("abc", Remembered("On", 3.0))
        assert "contradict" in proposal(detect(kinds))
        message = client(kinds).post("/sdfm/v1/model", json={"kind": FLOW}).json()["message"]
        assert "Its file says otherwise: a v-prediction model" in message


@pytest.mark.parametrize("content", [
    b"", b"\x00" * 7, b"\xff" * 16, (10).to_bytes(8, "little") + b"not json!!", (3).to_bytes(8, "little") + b"[1]",
    (2**40).to_bytes(8, "little") + b"{}",
])  # fmt: skip
def test_a_file_without_a_header_has_no_marks(tmp_path: Path, content: bytes):
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    assert marks_of(str(file)) == marks_of(str(tmp_path / "none.safetensors")) == marks_of(None) == Marks()


def test_a_file_of_another_format_is_not_read(tmp_path: Path):
    Path(checkpoint(tmp_path, "v_pred")).rename(tmp_path / "big.ckpt")
    assert marks_of(str(tmp_path / "big.ckpt")) == Marks()


class TestRoutes:
    def test_a_flow_model_by_the_route_of_0_1(self, tmp_path: Path):
        kinds = host(tmp_path)
        api = client(kinds)
        assert api.get("/sdfm/v1/flow").json() == {
            "checkpoint": "big", "flow": None, "why": "its file doesn't say", "remembered": None,
        }  # fmt: skip
        assert "shift 6" in api.post("/sdfm/v1/flow", json={"mode": "On", "shift": 6}).json()["message"]
        assert kinds.remembered().shift == 6 and api.get("/sdfm/v1/flow").json()["remembered"] == {"mode": "On", "shift": 6}
        api.post("/sdfm/v1/flow", json={"mode": "Off", "shift": 6})
        assert kinds.remembered() is None and kinds.memory.get("abc").mode == "Off"
        api.post("/sdfm/v1/flow", json={"mode": "Auto", "shift": 6})
        assert kinds.memory.get("abc") is None

    def test_a_v_model(self, tmp_path: Path):
        kinds = host(tmp_path)
        api = client(kinds)
        said = api.post("/sdfm/v1/model", json={"kind": V, "zero_terminal_snr": True}).json()["message"]
        assert "a v-prediction model with zero terminal SNR" in said and kinds.remembered().zero_terminal_snr
        found = api.get("/sdfm/v1/model").json()
        assert found["remembered"] == {"kind": V, "shift": 3, "zero_terminal_snr": True} and "Remembered: v-pred" in proposal(
            found
        )
        assert "forgotten" in api.delete("/sdfm/v1/model").json()["message"] and kinds.remembered() is None

    @pytest.mark.parametrize("path, body, named", [
        ("flow", {"mode": "Maybe"}, "Flow Matching"), ("flow", {"shift": 0}, "Flow Shift"),
        ("model", {"kind": "x"}, "Model Kind"), ("model", {"kind": FLOW, "shift": "3"}, "Flow Shift"),
        ("model", {"kind": ["Noise"]}, "Model Kind"), ("model", {"kind": V, "zero_terminal_snr": 1}, "Zero Terminal SNR"),
        ("model", {"kind": NOISE, "zero_terminal_snr": True}, "Zero Terminal SNR"),
    ])  # fmt: skip
    def test_bad_values_are_named(self, tmp_path: Path, path: str, body: dict, named: str):
        kinds = host(tmp_path)
        answer = client(kinds).post(f"/sdfm/v1/{path}", json={**({"mode": "On", "shift": 3} if path == "flow" else {}), **body})
        assert answer.status_code == 422 and named in answer.text and kinds.memory.get("abc") is None

    @pytest.mark.parametrize("path", ["flow", "model"])
    def test_without_a_checkpoint_there_is_a_message(self, tmp_path: Path, path: str):
        answer = client(host(tmp_path, loaded=False)).get(f"/sdfm/v1/{path}")
        assert answer.status_code == 422 and "no checkpoint" in answer.text


class TestTitle:
    def test_what_counts_and_why(self, tmp_path: Path):
        kinds = host(tmp_path, marks=["v_pred"])
        model = kinds.loaded()
        assert title(kinds, model, None) == "Model kind: Noise, decided by the WebUI; its file says v-prediction: press Detect"
        assert title(host(tmp_path, own=V), model, None) == "Model kind: v-prediction, decided by the WebUI"
        kinds.memory.put("abc", Remembered("On", 3.0))
        assert title(kinds, model, None) == "Model kind: Flow matching, shift 3, remembered"
        kinds.memory.put("abc", Remembered(V, zero_terminal_snr=True))
        assert title(kinds, model, None) == "Model kind: v-prediction, zero terminal SNR, remembered"
        assert title(kinds, model, NOISE) == "Model kind: Noise, chosen here"
        kinds.memory.put("abc", Remembered("Off"))
        assert title(kinds, model, None) == "Model kind: Noise, remembered"
        assert title(host(tmp_path, own=V), model, None) == "Model kind: v-prediction, decided by the WebUI"
        assert title(kinds, None, None) == title(kinds, SimpleNamespace(), None) == "Model kind"

    @pytest.mark.parametrize("controls, kind", [
        ((False, V, False, "On"), None), ((True, "Automatic", False, "On"), None), ((True, V, False, "On"), V),
        ((False, V, True, "On"), FLOW), ((False, V, True, "Off"), NOISE), ((True, "Automatic", True, "Auto"), None),
        ((True, FLOW, True, "On"), FLOW), ((True, V, True, "Off"), V),
    ])  # fmt: skip
    def test_what_the_controls_ask_for(self, controls: tuple, kind: str | None):
        assert chosen(*controls) == kind

    @pytest.mark.parametrize("controls", [(True, V, True, "On"), (True, FLOW, True, "Off")])
    def test_two_kinds_at_once(self, controls: tuple):
        with pytest.raises(UserError, match="contradict each other"):
            chosen(*controls)
