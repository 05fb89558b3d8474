"""A small version of ``bench.quality``: fixed seeds, wide tolerance. What is far from any doubt must stay so."""

import json

import numpy as np
import pytest
from PIL import Image

from bench.quality.demo_host import DemoHost
from bench.quality.results import Results
from bench.quality.rows import measure
from bench.quality.settings import SETTINGS
from tools.shapes import SIZE

from .conftest import DEMO

COUNT, SEED, DRAWN = 10, 4, 64
BY_NAME = {setting.name: setting for setting in SETTINGS}
MEASURED = ("CFG 4", "CFG 20", "CFG 20, dynamic thresholding", "flow, taken for a noise model", "flow, Euler, 10 calls")


@pytest.fixture(scope="module")
def results(shapes_host):
    host = DemoHost(shapes_host.http)
    rows = [(BY_NAME[name], measure(host, BY_NAME[name], range(COUNT), SEED)) for name in MEASURED]
    return Results(rows, SEED, DRAWN)


def test_prompts_are_kept_at_a_usual_scale(results):
    assert results.row("CFG 4")["adherence"] >= 0.1


def test_high_cfg_spoils_and_dynamic_thresholding_tames_it(results):
    plain, high, tamed = (results.row(name)["distance"] for name in MEASURED[:3])
    assert tamed < high and plain < high


def test_flow_mode_paints_what_is_spoiled_without_it(results):
    spoiled, flow = (results.row(name) for name in MEASURED[3:])
    assert flow["adherence"] >= 0.3 and flow["distance"] < spoiled["distance"] / 3


@pytest.mark.parametrize("sampler", ["Heun", "DPM++ SDE", "DPM2 a", "DPM++ 3M SDE", "DPM fast", "DDIM"])
def test_calls_are_counted_as_said(shapes_host, sampler):
    setting = BY_NAME[f"flow, {sampler}, 10 calls"]
    assert 0 <= setting.calls - measure(DemoHost(shapes_host.http), setting, range(2), SEED).calls <= 1


def test_the_same_seeds_give_the_same_pictures_in_any_batch(shapes_host):
    host, request = DemoHost(shapes_host.http), BY_NAME["CFG 4"].request()
    prompts, seeds = ["a red star on blue", "two green circles on white"], [5, 6]
    both = host.paint({**request, "steps": 5}, prompts, seeds)
    alone = [host.paint({**request, "steps": 5}, [prompt], [seed]) for prompt, seed in zip(prompts, seeds)]
    for picture, other in zip(both.pictures, alone):
        assert np.abs(picture.astype(int) - other.pictures[0]).max() <= 2


def test_what_the_api_refuses_is_an_error(shapes_host):
    request = {**BY_NAME["CFG 4"].request(), "alwayson_scripts": {"SDFM": {"args": [{"pag": {"scale": 1000}}]}}}
    with pytest.raises(RuntimeError, match="422.*1000"):
        DemoHost(shapes_host.http).paint(request, ["x"], [1])


def test_the_sheets_of_the_demo_are_small_and_all_there():
    index = json.loads((DEMO / "sheets" / "sheets.json").read_text(encoding="utf8"))
    assert {path.name for path in (DEMO / "sheets").glob("*.webp")} == {sheet["file"] for sheet in index}
    for sheet in index:
        path = DEMO / "sheets" / sheet["file"]
        assert path.stat().st_size < 60_000 and Image.open(path).size == (8 * SIZE, 2 * SIZE)


def test_the_page_has_every_sheet_and_serves_its_picture(host):
    page = host.http.get("/").text
    for sheet in json.loads((DEMO / "sheets" / "sheets.json").read_text(encoding="utf8")):
        assert page.count(f"sheets/{sheet['file']}") == 1
        answer = host.http.get(f"/sheets/{sheet['file']}")
        assert answer.status_code == 200 and answer.content == (DEMO / "sheets" / sheet["file"]).read_bytes()
    assert host.http.get("/sheets/nothing.webp").status_code == 404
