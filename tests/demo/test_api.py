"""The API's other routes, and a client of somebody else's that drives it."""

import sys

import numpy as np
import pytest


def test_readers(host):
    assert [item["name"] for item in host.get("samplers")][:2] == ["DPM++ 2M", "DPM++ SDE"]
    assert {"Automatic", "Karras", "Beta", "SGM Uniform"} <= {item["label"] for item in host.get("schedulers")}
    assert [item["model_name"] for item in host.get("sd-models")] == ["demo-first", "demo-second"]
    assert host.get("progress")["progress"] == 0


def test_options_can_be_set(host):
    from modules import shared

    answer = host.http.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "demo-second"})
    assert answer.status_code == 200 and host.get("options")["CLIP_stop_at_last_layers"] == 2
    assert shared.sd_model.sd_checkpoint_info.name_for_extra == "demo-second"
    assert "Model: demo-second" in host.txt2img().text


def test_the_menu_at_the_top_chooses_the_checkpoint(host):
    from modules import sd_models, ui

    (menu,) = (block for block in host.blocks.blocks.values() if block.elem_id == "setting_sd_model_checkpoint")
    titles = [choice[0] if isinstance(choice, tuple) else choice for choice in menu.choices]
    assert titles == sd_models.checkpoint_tiles()
    ui.choose_checkpoint(titles[1])
    assert "Model: demo-second" in host.txt2img().text
    page = host.http.get("/config").json()
    assert any(set(event["outputs"]) == {menu._id} for event in page["dependencies"]), "the page asks what is chosen"


def test_progress_and_interrupt(host):
    seen = []

    def look(params):
        seen.append(host.get("progress"))
        if len(seen) == 3:
            host.http.post("/sdapi/v1/interrupt")

    with host.callback("cfg_denoiser", look):
        assert host.txt2img(steps=10).status == 200
    assert len(seen) == 3 and seen[-1]["state"]["sampling_step"] == 1 and 0 < seen[-1]["progress"] < 1


def test_default_arguments_are_taken_without_swallowed_errors(host):
    host._start()  # as "Reload UI" does
    assert host.swallowed == [] and host.txt2img().status == 200


def test_install_and_preload_are_run(host):
    from modules import shared

    assert shared.cmd_opts.sdfm_off is False


def test_webuiapi_client(host):
    webuiapi = pytest.importorskip("webuiapi")
    sys.path.insert(0, str(host.demo))
    from launch import Server

    server = Server(host.app, "127.0.0.1", 0)
    server.start()
    try:
        api = webuiapi.WebUIApi(host="127.0.0.1", port=server.port)
        asked = {"SDFM": {"args": [{"pag": {"scale": 3}}]}}
        result = api.txt2img(prompt="a red house", seed=1, steps=3, width=128, height=128, cfg_scale=5, alwayson_scripts=asked)
        assert result.image.size == (128, 128) and "PAG Scale: 3" in result.info["infotexts"][0]
        assert "sdfm" in api.get_scripts()["txt2img"]
    finally:
        server.stop()


def test_a_preset_by_its_name(host):
    named = host.guided({"preset": "PAG", "pag": {"end_step": 2}})
    assert named.status == 200 and np.array_equal(named.pixels, host.guided({"pag": {"scale": 3, "end_step": 2}}).pixels)
    refused = host.guided({"preset": "PGA"})
    assert refused.status == 422 and "preset: 'PGA'" in str(refused.body) and "nearest is 'PAG'" in str(refused.body)
