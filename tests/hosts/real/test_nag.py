"""NAG in a real WebUI: every attention implementation, CFG 1, prompts of all kinds, refiner and hires pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.hosts.real.client import Pictures, WebUi

SMALL = {"sampler_name": "Euler", "scheduler": "Automatic", "steps": 4, "width": 64, "height": 64}
HIRES = {"enable_hr": True, "denoising_strength": 0.7, "hr_second_pass_steps": 2}
OPTIMISATIONS = [
    "Doggettx", "sdp - scaled dot product", "sdp-no-mem - scaled dot product without memory efficient attention",
    "sub-quadratic", "V1", "InvokeAI", "None",
]  # fmt: skip


def made(webui: WebUi, nag: dict | None = None, more: dict | None = None, **request: Any) -> Pictures:
    settings = {**(more or {}), **({} if nag is None else {"nag": nag})}
    return webui.txt2img(settings or None, **{**SMALL, **request})


def largest(one: Pictures, two: Pictures) -> int:
    """Largest difference of all pictures, of 255."""
    both = (np.stack([np.frombuffer(pixels, np.uint8).astype(int) for pixels in pictures.pixels]) for pictures in (one, two))
    return int(np.abs(next(both) - next(both)).max())


@pytest.fixture(params=[1, 7])
def cfg(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def optimisation(a1111: WebUi) -> Iterator[Any]:
    """Sets A1111's attention optimisation."""
    before = a1111.get("/sdapi/v1/options")["cross_attention_optimization"]
    yield lambda name: a1111.post("/sdapi/v1/options", {"cross_attention_optimization": name})
    a1111.post("/sdapi/v1/options", {"cross_attention_optimization": before})


def test_every_attention_optimisation_of_a1111(a1111: WebUi, optimisation: Any, cfg: int):
    pictures = []
    for name in OPTIMISATIONS:
        optimisation(name)
        plain, guided = made(a1111, cfg_scale=cfg), made(a1111, {}, cfg_scale=cfg)
        assert guided.difference(plain) > 0.3 and made(a1111, cfg_scale=cfg).pixels == plain.pixels, name
        pictures.append(guided)
    assert all(largest(pictures[0], other) <= 2 for other in pictures[1:])


def test_attention_in_float32_on_a1111(a1111: WebUi, cfg: int):
    upcast = made(a1111, {}, cfg_scale=cfg, override_settings={"upcast_attn": True})
    assert largest(made(a1111, {}, cfg_scale=cfg), upcast) <= 2


@pytest.mark.parametrize("sampler", ["Euler", "LCM"])
def test_a_batch_is_its_single_pictures(webui: WebUi, sampler: str, cfg: int):
    request = {"cfg_scale": cfg, "sampler_name": sampler}
    batch = made(webui, {}, batch_size=3, **request, override_settings={"return_grid": False})
    singles = [made(webui, {}, seed=5 + i, **request) for i in range(3)]
    assert largest(batch, Pictures([single.pixels[0] for single in singles], [])) <= 1


KINDS = {
    "long": {"negative_prompt": "blurry, " * 60},
    "empty": {"negative_prompt": ""},
    "AND": {"prompt": "a house AND a red tree :0.6"},
    "odd size": {"width": 104, "height": 72},
    "hires": HIRES,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [{}, {"pag": {"scale": 2}}], ids=["alone", "with PAG"])
def test_kinds_of_jobs(webui: WebUi, kind: str, more: dict, cfg: int):
    request = {"cfg_scale": cfg, **KINDS[kind]}
    plain, guided = made(webui, None, more, **request), made(webui, {"scale": 4}, more, **request)
    assert guided.difference(plain) > 0.1
    assert made(webui, None, more, **request).pixels == plain.pixels


def test_the_prompt_itself_as_negative_prompt_changes_nothing(webui: WebUi, cfg: int):
    assert largest(made(webui, {"negative": "a house", "scale": 4}, cfg_scale=cfg), made(webui, cfg_scale=cfg)) <= 1


def test_prompt_editing_in_the_negative_prompt(webui: WebUi, cfg: int):
    first, edited, second = (
        made(webui, {"scale": 4}, cfg_scale=cfg, negative_prompt=text) for text in ("blurry", "[blurry:a cat:0.25]", "a cat")
    )
    assert edited.pixels not in (first.pixels, second.pixels)
    own = made(webui, {"scale": 4, "negative": "[blurry:a cat:0.25]"}, cfg_scale=1, negative_prompt="a dog")
    assert own.pixels == made(webui, {"scale": 4}, cfg_scale=1, negative_prompt="[blurry:a cat:0.25]").pixels


def test_a_refiner_has_its_own_encoding(webui: WebUi, another_checkpoint: str, cfg: int):
    request = {"cfg_scale": cfg, "refiner_checkpoint": another_checkpoint, "refiner_switch_at": 0.5}
    plain = made(webui, **request)
    for nag in ({}, {"negative": "a cat"}, {"start_step": 2}):
        assert made(webui, nag, **request).difference(plain) > 0.1, nag
    assert made(webui, **request).pixels == plain.pixels


def test_a_refiner_in_the_hires_pass(webui: WebUi, another_checkpoint: str, cfg: int):
    request = {"cfg_scale": cfg, "refiner_checkpoint": another_checkpoint, "refiner_switch_at": 0.5, **HIRES}
    plain = made(webui, **request)
    assert "Refiner switch at" in plain.texts[0]
    for nag in ({}, {"negative": "a cat"}, {"scale": 0, "hires_scale": 2}):
        assert made(webui, nag, **request).difference(plain) > 0.1, nag
    assert made(webui, **request).pixels == plain.pixels


def test_the_hires_pass_of_forge_has_its_own_cfg(forge: WebUi):
    for first, second in ((1, 7), (7, 1)):
        request = {"cfg_scale": first, "hr_cfg": second, **HIRES}
        plain, off = made(forge, **request), made(forge, {"end_step": 0, "hires_scale": 0}, **request)
        assert made(forge, {"end_step": 0}, **request).difference(off) > 0.1
        assert made(forge, **request).pixels == plain.pixels


def test_what_is_written(webui: WebUi):
    text = made(webui, {"negative": 'a, "b": c', "hires_scale": 1}).texts[0]
    assert "SDFM NAG: True, SDFM NAG Scale: 2, SDFM NAG Tau: 2.5, SDFM NAG Alpha: 0.5" in text
    assert 'SDFM NAG Negative Prompt: "a, \\"b\\": c", SDFM NAG Hires Scale: 1' in text
