"""Flow matching in the demo: its flow model paints what the prompt says, with every sampler, and is told from the others."""

from functools import partial

import numpy as np
import pytest

from bench.quality.judge import judge
from tools.shapes import Group, Scene

from .test_shapes import FIELDS, batch

FLOW = {"override_settings": {"sd_model_checkpoint": "shapes-flow"}}
SCENES = [
    Scene((Group("square", "green", 1, None, "on the left"),), "white"),
    Scene((Group("circle", "blue", 1, "medium"),), "orange"),
]


def settings(mode, shift=1.0):
    return {"alwayson_scripts": {"SDFM": {"args": [{"flow": {"mode": mode, "shift": shift}}]}}}


def share(pictures, scene):
    """Of pictures with as many of each shape in its colour as promised, on the right background."""
    return np.mean([judge(picture, scene).kept for picture in pictures])


def test_it_paints_with_flow_matching_and_worse_without(shapes_host):
    on, off = (
        [share(batch(shapes_host, scene, **FLOW, **settings(mode)), scene) for scene in SCENES] for mode in ("On", "Off")
    )
    assert min(on) >= 0.5 and np.mean(on) > np.mean(off) + 0.2, (on, off)


def test_remembered_it_needs_no_setting(shapes_host, monkeypatch):
    from modules import shared

    scene, short = SCENES[0], {"steps": 6, "batch_size": 2}
    wanted = batch(shapes_host, scene, **FLOW, **settings("On"), **short)
    shared.opts.data["sd_model_checkpoint"] = "shapes-flow"
    assert shapes_host.http.post("/sdfm/v1/flow", json={"mode": "On", "shift": 1}).status_code == 200
    try:
        assert np.array_equal(batch(shapes_host, scene, **FLOW, **short), wanted)
        assert np.array_equal(batch(shapes_host, scene, **FLOW, **settings("Auto"), **short), wanted)
    finally:
        shapes_host.http.post("/sdfm/v1/flow", json={"mode": "Auto"})


def test_every_sampler_paints(shapes_host):
    scene, names = SCENES[1], [sampler["name"] for sampler in shapes_host.get("samplers")]
    assert len(names) > 20
    pictures = {}
    for name in names:
        fields = {"sampler_name": name, "cfg_scale": scale_of(name), "batch_size": 2, "steps": 12}
        pictures[name] = batch(shapes_host, scene, **FLOW, **settings("On"), **fields)[-2:]
    assert all(picture.std() > 1 for made in pictures.values() for picture in made)  # NaN would be black
    assert np.mean([share(made, scene) for made in pictures.values()]) > 0.6


def scale_of(name):
    """CFG; lambda where the sampler takes that."""
    return 0.4 if name.endswith("CFG++") and name != "DDIM CFG++" else 4


@pytest.mark.parametrize(("name", "kind"), [("shapes-eps", "eps"), ("shapes-ink", "eps"), ("shapes-flow", "flow")])
def test_it_is_told_from_the_others(shapes_host, name, kind, monkeypatch):
    """By what its file says, and where that is not asked, by what it predicts, for pictures of the size of its own."""
    from modules import shared

    from lib_sdfm.hosts.a1111.model_kind import ask_a1111
    from lib_sdfm.ops.flow_probe import recognise

    monkeypatch.setattr("lib_sdfm.hosts.a1111.model_kind.recognise", partial(recognise, size=(4, 12, 12)))
    shapes_host.txt2img(**FIELDS, override_settings={"sd_model_checkpoint": name}, override_settings_restore_afterwards=False)
    found = shapes_host.http.get("/sdfm/v1/flow").json()
    assert found["checkpoint"] == name and found["flow"] == (kind == "flow") and "its file says so" in found["why"]
    asked = ask_a1111(shared.sd_model)
    assert (asked.kind == "flow") == (kind == "flow") and asked.certain
