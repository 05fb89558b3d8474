"""The plot of a run beforehand, against what the run records: CFG scale, noise level and active techniques of each call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image

from lib_sdfm.hosts.a1111 import run_pass
from lib_sdfm.schema.request import apply_request
from sdfm_webui.run_course import Course
from sdfm_webui.run_plot import levels, plot, scales, times, windows

FIELDS = {"width": 96, "height": 96, "steps": 6, "cfg_scale": 5.0, "sampler_name": "Euler"}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "hr_second_pass_steps": 5}
PANEL = {
    "sampler_name": "sampler", "steps": "steps", "cfg_scale": "cfg_scale", "width": "width", "height": "height",
    "scheduler": "scheduler", "enable_hr": "hires", "hr_scale": "hires_scale", "denoising_strength": "strength",
    "hr_second_pass_steps": "hires_steps", "hr_sampler_name": "hires_sampler", "refiner_checkpoint": "checkpoint",
    "refiner_switch_at": "switch_at", "prompt": "prompt",
}  # fmt: skip
"""The names of the panel's values by those of the API."""
EVERYTHING = {
    "pag": {"start_step": 1, "end_step": 3, "hires_start_step": 2}, "freeu": {"preset": "SDXL", "start": 0.2, "stop": 0.7},
    "nag": {"sigma_from": 5.0}, "cfg_schedule": {"schedule": "Cosine", "low": 0.1},
}  # fmt: skip
THRESHOLDING = {"dynamic_thresholding": {"cfg_mode": "Half Cosine Up", "cfg_minimum": 2.0}}
ORIGINAL = {
    "recipe": "original", "pag": {"start_step": 1, "end_step": 3}, "cfg_schedule": {"schedule": "Linear"},
    "freeu": {"preset": "SDXL", "stop": 0.5},
}  # fmt: skip
CASES = [
    *((EVERYTHING, {"sampler_name": name}) for name in ("Euler", "Heun", "DPM++ 2M", "DPM2 a", "DDIM", "Euler CFG++")),
    (EVERYTHING, {"scheduler": "Karras", "cfg_scale": 1.0}), (EVERYTHING, HIRES),
    (EVERYTHING, {**HIRES, "hr_sampler_name": "DDIM", "sampler_name": "DPM++ SDE"}),
    (THRESHOLDING, {"sampler_name": "DPM++ SDE"}), (ORIGINAL, {}), (ORIGINAL, {**HIRES, "sampler_name": "Heun"}),
    ({"cfgpp": {}, "cfg_schedule": {"schedule": "Interval"}}, {}), ({"pag": {"adaptive": 0.2}}, {"sampler_name": "DDIM"}),
    ({"adaptive_guidance": {"step": 3}, "pag": {}}, {}), ({"hires_cfg": {"scale": 2.0}, "pag": {}}, HIRES),
    ({"flow": {"mode": "On", "shift": 3.0}, **EVERYTHING}, {}), ({"flow": {"mode": "On"}, "pag": {}}, {"sampler_name": "DDIM"}),
    ({"model": {"kind": "v-prediction", "zero_terminal_snr": True}, **EVERYTHING}, {}),
    ({"pag": {}}, {"sampler_name": "DDIM CFG++"}),
]  # fmt: skip


@contextmanager
def recorded() -> Iterator[list[tuple]]:
    """The calls with techniques as the run composes them: pass, step, noise level if it was asked for, CFG scale, names."""
    seen, own, patch = [], run_pass.compose, pytest.MonkeyPatch()

    def compose(active: Any, prediction: Any, call: Any, plain_cfg: Any) -> Any:
        seen.append((call.hires, call.index, call.sigma, prediction.cfg_scale, [technique.name for technique in active]))
        return own(active, prediction, call, plain_cfg)

    patch.setattr(run_pass, "compose", compose)
    try:
        yield seen
    finally:
        patch.undo()


def course_of(request: dict, fields: dict, from_picture: bool = False) -> Course:
    """Return the course that the panel computes for a job's values."""
    from modules.script_loading import loaded_scripts

    script = next(module for path, module in loaded_scripts.items() if path.endswith("scripts/sdfm.py"))
    values = {"hires": False, "scheduler": "Automatic", "refiner": "refiner_checkpoint" in fields, "negative": ""}
    values.update({PANEL[name]: value for name, value in fields.items() if name in PANEL})
    if from_picture:
        del values["hires"]
    schema = script.SCHEMA
    return script.COURSE(schema, schema.settings(apply_request(schema, schema.defaults(), request)), values)


def assert_foretold(course: Course, seen: list[tuple]) -> None:
    assert not any(one.unknown for one in course.passes)
    told = [(one.sized.facts.hires, call) for one in course.passes for call in one.calls if call.active]
    assert [(hires, call.call.index) for hires, call in told] == [entry[:2] for entry in seen]
    assert [[t.name for t in call.active] for _, call in told] == [entry[4] for entry in seen]
    assert [call.scale for _, call in told] == pytest.approx([entry[3] for entry in seen], rel=1e-5)
    known = [(call.call.sigma, entry[2]) for (_, call), entry in zip(told, seen) if entry[2] is not None]
    assert [level for level, _ in known] == pytest.approx([level for _, level in known], rel=1e-3)


@pytest.mark.parametrize("request_, fields", CASES, ids=lambda value: "-".join(map(str, value))[:40])
def test_it_is_what_the_run_records(shapes_host, request_: dict, fields: dict):
    job = {**FIELDS, **fields}
    with recorded() as seen:
        answer = shapes_host.guided(request_, **job)
    assert answer.status == 200 and seen, answer.body
    course = course_of(request_, job)
    assert_foretold(course, seen)
    assert_drawn(course)


def assert_drawn(course: Course) -> None:
    """The drawing holds each point and window."""
    html = plot(course)
    for one in course.passes:
        for points in (scales(one.calls), (times if one.sized.facts.flow_model else levels)(one.calls)):
            assert all(f"V{value:.6g}H{end:.6g}" in html for _, end, value in points)
        for name in course.labels:
            assert all(f'x="{start:.6g}" width="{end - start:.6g}"' in html for start, end in windows(one.calls, name))


def test_img2img(shapes_host):
    request, job = {"pag": {"start_step": 1}, "cfg_schedule": {"schedule": "Linear"}}, {**FIELDS, "denoising_strength": 0.6}
    with recorded() as seen:
        assert shapes_host.img2img(Image.new("RGB", (96, 96), "red"), alwayson_scripts=args(request), **job).status == 200
    assert_foretold(course_of(request, job, from_picture=True), seen)


def args(request: dict) -> dict:
    return {"SDFM": {"args": [request]}}


def test_the_refiner_s_switch_and_prompts(switching):
    request = {"cfg_schedule": {"schedule": "Linear"}}  # one call of the UNet in a step
    job = {**FIELDS, "prompt": "[red:blue:refiner] circle", "refiner_checkpoint": "shapes-ink", "refiner_switch_at": 0.5}
    _, seen = switching.txt2img(alwayson_scripts=args(request), negative_prompt="[small:large:refiner], star", **job)
    course = course_of(request, job)
    states = [call.state for call in seen]
    switch = course.passes[0].sized.facts.switch
    first = [state[0] for state in states].index("shapes-ink")
    assert 0 < switch < FIELDS["steps"] and first == switch
    assert course.handover.before == ("red circle", "") and course.handover.after == ("blue circle", "")
    assert "shapes-ink" in plot(course) and "blue circle" in plot(course)


def test_it_is_computed_while_nothing_runs_the_model(shapes_host):
    from modules import shared

    unet = shared.sd_model.model.diffusion_model
    handle = unet.register_forward_pre_hook(lambda *given: pytest.fail("the model was called"))
    before = set(vars(shared.sd_model)), dict(shared.opts.data)
    try:
        course_of(EVERYTHING, {**FIELDS, **HIRES})
    finally:
        handle.remove()
    assert (set(vars(shared.sd_model)), dict(shared.opts.data)) == before


@pytest.mark.parametrize("values", [
    {"steps": None, "cfg_scale": None}, {"sampler_name": "DPM adaptive"}, {"sampler_name": "Nobody's"}, {"scheduler": None},
    {"denoising_strength": None, "enable_hr": True}, {"steps": 0, "width": 0, "height": None},
])  # fmt: skip
def test_half_typed_values_give_a_plot(shapes_host, values: dict):
    assert plot(course_of(EVERYTHING, {**FIELDS, **values}))
