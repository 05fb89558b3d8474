"""The shipped models in the demo: they load, paint what prompts say, and the refiner turns one style into the other."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from bench.quality import adherence
from bench.quality.judge import judge, look
from tests.pairs import in_turn
from tools import drawing, shapes, tiny_model, tiny_sampling
from tools.shapes import Group, Scene

from .conftest import DEMO

PREDICT = {"shapes-eps": "epsilon", "shapes-flow": "flow", "shapes-ink": "epsilon", "shapes-v": "v"}
NAMES = list(PREDICT)
MARKS = {"v_pred", "ztsnr"}
LARGEST = 8_000_000
CIRCLES = Scene((Group("circle", "red", 3),), "blue")
SINGLES = [
    Scene((Group("star", "yellow", 1, "small"),), "purple"),
    Scene((Group("square", "green", 1, None, "on the left"),), "white"),
    Scene((Group("triangle", "red"),), "black"),
    Scene((Group("circle", "blue", 1, "medium"),), "orange"),
]
FIELDS = {"steps": 20, "cfg_scale": 4, "sampler_name": "Euler", "width": shapes.SIZE, "height": shapes.SIZE}


def batch(host, scene, **fields):
    """Eight pictures of one caption."""
    answer = host.txt2img(**{**FIELDS, "prompt": scene.words(), "batch_size": 8, **fields})
    assert answer.status == 200, answer.body
    return [np.asarray(picture) for picture in answer.pictures[-8:]]


def check(pictures, scene, least=0.5):
    """As many of each shape in its colour as promised, on the right background."""
    verdicts = [judge(picture, scene) for picture in pictures]
    assert np.mean([verdict.kept for verdict in verdicts]) >= least, verdicts


@pytest.mark.parametrize("name", NAMES)
def test_files_are_small_and_say_what_they_are(name):
    path = DEMO / "models" / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        metadata, keys = file.metadata(), set(file.keys()) - MARKS
        assert (set(file.keys()) >= MARKS) is (name == "shapes-v")
        assert all(file.get_slice(key).get_dtype() == "F16" for key in keys)
    assert path.stat().st_size <= LARGEST
    assert metadata["modelspec.prediction_type"] == PREDICT[name]
    config = json.loads(metadata["sdfm_demo"])
    assert config["parameterization"] == "eps" and config["objective"] == {"epsilon": "eps"}.get(PREDICT[name], PREDICT[name])
    assert {key.split(".")[0] for key in keys} == {"model", "cond_stage_model", "first_stage_model"}
    blocks = {key.split(".")[5] for key in keys if key.startswith("model.diffusion_model.middle_block.1.transformer_blocks.")}
    assert len(blocks) == 3


def test_the_demo_lists_them_and_begins_with_epsilon(shapes_host):
    from modules import shared

    assert [item["model_name"] for item in shapes_host.get("sd-models")] == NAMES
    assert shared.sd_model.sd_checkpoint_info.name_for_extra == "shapes-eps"


@pytest.mark.parametrize("name", NAMES)
def test_single_objects_are_what_the_caption_says(name):
    """Measured at 20 steps and CFG 4; required are three in five."""
    model = tiny_model.load(tiny_model.MODELS / f"{name}.safetensors")
    scenes = adherence.scenes_of("single object", 16, seed=8)
    pictures = adherence.painted(model, scenes, seed=8, steps=20, cfg=4.0)
    kept = [judge(picture, scene).kept for picture, scene in zip(pictures, scenes, strict=True)]
    assert np.mean(kept) >= 0.6, np.mean(kept)


def test_three_red_circles_on_blue(shapes_host):
    check(batch(shapes_host, CIRCLES), CIRCLES, 0.4)


@in_turn(scene={scene.words(): scene for scene in SINGLES}, name=["shapes-eps", "shapes-ink"])
def test_single_objects(shapes_host, scene, name):
    check(batch(shapes_host, scene, override_settings={"sd_model_checkpoint": name}), scene)


def test_other_samplers_and_clip_skip_paint_too(shapes_host):
    scene = SINGLES[3]
    skipped = {"override_settings": {"CLIP_stop_at_last_layers": 2}}
    for fields in ({"sampler_name": "DDIM"}, {"sampler_name": "DPM++ 2M"}, skipped):
        check(batch(shapes_host, scene, **fields), scene)


def darkness(pictures):
    """Share of ink."""
    return np.mean([(picture.max(-1) < 100).mean() for picture in pictures])


def test_the_refiner_inks_what_was_begun(shapes_host):
    plain = batch(shapes_host, CIRCLES)
    inked = batch(shapes_host, CIRCLES, refiner_checkpoint="shapes-ink", refiner_switch_at=0.5)
    assert darkness(plain) < 0.01 < 0.02 < darkness(inked)
    pairs = [(look(first).objects, look(second).objects) for first, second in zip(plain, inked)]
    equal = [pair for pair in pairs if len(pair[0]) == len(pair[1])]
    assert len(equal) >= 3
    moved = [_distance(one, others) for first, second in equal for one in first for others in [second]]
    assert np.median(moved) < 6


def _distance(one, others):
    return min(np.hypot(one.x - other.x, one.y - other.y) for other in others)


def test_img2img_keeps_a_drawn_picture(shapes_host):
    rng = np.random.default_rng(3)
    drawn = shapes.realise(CIRCLES, rng)
    picture = Image.fromarray(drawing.draw(drawn, drawing.PLAIN, rng))
    answer = shapes_host.img2img(picture, **{**FIELDS, "prompt": CIRCLES.words(), "denoising_strength": 0.4, "batch_size": 4})
    results = [np.asarray(result) for result in answer.pictures[-4:]]
    check(results, CIRCLES, 0.5)
    assert max(_distance(found, look(np.asarray(picture)).objects) for found in look(results[0]).objects) < 8


def test_the_bench_samples_as_the_demo_does(shapes_host):
    answer = shapes_host.txt2img(**{**FIELDS, "prompt": CIRCLES.words(), "seed": 5})
    model = tiny_model.load(tiny_model.MODELS / "shapes-eps.safetensors")
    picture = tiny_sampling.sample(model, [CIRCLES.words()], seed=5)[0].numpy()
    assert np.abs(answer.pixels - picture).mean() < 1.0


def test_flow_paints_with_a_flow_sampler(shapes_host):
    model = tiny_model.load(tiny_model.MODELS / "shapes-flow.safetensors")
    pictures = tiny_sampling.sample(model, [scene.words() for scene in SINGLES for _ in range(4)], seed=2).numpy()
    for i, scene in enumerate(SINGLES):
        check(pictures[4 * i : 4 * i + 4], scene)
