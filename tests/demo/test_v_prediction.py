"""A v-prediction model with zero terminal SNR in the demo: its kind makes it paint, and it is told from others."""

from functools import partial

import numpy as np
import pytest

from .test_flow import SCENES, share
from .test_shapes import FIELDS, batch

V = {"override_settings": {"sd_model_checkpoint": "shapes-v"}}
KIND = {"kind": "v-prediction", "zero_terminal_snr": True}


def settings(**model):
    return {"alwayson_scripts": {"SDFM": {"args": [{"model": model}]}}}


@pytest.mark.parametrize(("sampler", "scene"), [("Euler", SCENES[0]), ("DDIM", SCENES[1])], ids=str)
def test_it_paints_with_its_kind_and_not_as_a_noise_model(shapes_host, sampler, scene):
    kinds = (KIND, {"kind": "Noise"})
    on, off = (share(batch(shapes_host, scene, **V, **settings(**kind), sampler_name=sampler), scene) for kind in kinds)
    assert on >= 0.5 and off <= on - 0.4, (on, off)


def test_its_file_says_what_it_is_and_the_model_says_the_same(shapes_host, monkeypatch):
    from modules import shared

    from lib_sdfm.hosts.a1111.model_kind import ask_a1111
    from lib_sdfm.ops.flow_probe import recognise

    monkeypatch.setattr("lib_sdfm.hosts.a1111.model_kind.recognise", partial(recognise, size=(4, 12, 12)))
    shapes_host.txt2img(**FIELDS, **V, override_settings_restore_afterwards=False)
    found = shapes_host.http.get("/sdfm/v1/model").json()
    assert (found["checkpoint"], found["kind"], found["zero_terminal_snr"]) == ("shapes-v", "v-prediction", True)
    asked = ask_a1111(shared.sd_model)
    assert asked.kind == "v" and asked.certain


def test_remembered_it_needs_no_setting(shapes_host):
    scene = SCENES[1]
    wanted = batch(shapes_host, scene, **V, **settings(**KIND))
    shapes_host.txt2img(**FIELDS, **V, override_settings_restore_afterwards=False)
    assert shapes_host.http.post("/sdfm/v1/model", json=KIND).status_code == 200
    try:
        assert np.array_equal(batch(shapes_host, scene, **V), wanted)
    finally:
        shapes_host.http.post("/sdfm/v1/model", json={"kind": "Automatic"})
    assert not np.array_equal(batch(shapes_host, scene, **V), wanted)
