"""The routes, asked over HTTP."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from lib_sdfm.catalog import SCHEMA
from sdfm_webui.routes import add_routes, authentication


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    add_routes(SCHEMA, app)
    return TestClient(app, raise_server_exceptions=False)


def explain(client: TestClient, body: Any) -> Any:
    return client.post("/sdfm/v1/explain", json=body)


def test_the_schema_is_served(client: TestClient):
    served = client.get("/sdfm/v1/schema").json()
    assert served["properties"]["pag"] and served["x-positional"] == SCHEMA.position_names
    assert served["format"] == 1 and served["version"]


def test_texts_and_payloads_are_explained(client: TestClient):
    text = "Steps: 20, Sampler: Euler, Seed: 1, PAG Active: True, PAG Scale: 2"
    assert explain(client, {"infotext": text}).json()["techniques"]["pag"]["scale"] == 2
    body = {"alwayson_scripts": {"SDFM": {"args": [{"pag": {"scale": 4}}]}}}
    assert explain(client, body).json()["techniques"]["pag"]["scale"] == 4


def test_what_cannot_be_explained_is_refused_in_words(client: TestClient):
    for body in ({}, {"infotext": 3}, {"size": 512}):
        answer = explain(client, body)
        assert answer.status_code == 422 and "infotext" in answer.json()["detail"]
    assert explain(client, [1]).status_code == 422


@pytest.mark.parametrize(
    "scripts", [{"SDFM": None}, {"SDFM": []}, {"SDFM": {"args": 5}}, {"SDFM": {"args": None}}, {"FreeU": {"args": []}}], ids=str
)
def test_a_malformed_payload_is_no_server_error(client: TestClient, scripts: dict):
    assert explain(client, {"alwayson_scripts": scripts}).status_code in (200, 422)


def test_strange_numbers_are_no_server_error(client: TestClient):
    body = '{"alwayson_scripts": {"SDFM": {"args": [{"pag": {"scale": 1' + "0" * 400 + "}}]}}}"
    answer = client.post("/sdfm/v1/explain", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200 and "pag.scale" in answer.json()["errors"][0]


def test_the_hosts_accounts_are_asked_for():
    app = FastAPI()
    add_routes(SCHEMA, app, **authentication(SimpleNamespace(api_auth="ann:pass:word,bob:b")))
    client = TestClient(app)
    url = "/sdfm/v1/schema"
    assert client.get(url).status_code == 401
    assert client.get(url, auth=("ann", "wrong")).status_code == 401
    assert client.get(url, auth=("eve", "")).status_code == 401
    assert client.get(url, auth=("ann", "pass:word")).status_code == 200
    assert client.get(url, auth=("bob", "b")).status_code == 200
    assert authentication(SimpleNamespace(api_auth=None)) == authentication(SimpleNamespace()) == {}
