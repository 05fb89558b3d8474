"""The same jobs in several WebUIs, on one machine with one number of threads: techniques agree as far as plain pictures do.

One WebUI at a time is enough: the variable ``SDFM_PARITY`` names a folder that keeps the pictures of each, and those of the one
under test are compared with all that are there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hosts.real.client import FORGE, WebUi

SAMPLERS = ("Euler", "Euler a", "DPM++ 2M", "DDIM", "LCM")
TECHNIQUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "PAG": {"pag": {"scale": 3}},
    "SEG": {"seg": {}},
    "CFG rescale": {"cfg_rescale": {}},
    "thresholding": {"dynamic_thresholding": {"mimic_scale": 3, "percentile": 90}},
    "APG": {"apg": {}},
    "FDG": {"fdg": {}},
}
JOB = {
    "scheduler": "Karras", "steps": 6, "width": 128, "height": 128,
    "override_settings": {"CLIP_stop_at_last_layers": 1, "enable_quantization": True, "randn_source": "CPU"},
}  # fmt: skip
"""Forge rounds noise levels to whole timesteps, as A1111 does with that option; Forge Neo skips a layer by default, and makes
sides multiples of 64."""
ALIKE, NEAR = 1, 2
"""Of 255: by how much plain pictures of two WebUIs that agree may differ, and then those of a technique."""


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def checkpoint(request: pytest.FixtureRequest, webui: WebUi) -> str:
    names = [model["model_name"] for model in webui.get("/sdapi/v1/sd-models")]
    small = sorted((name for name in names if request.param in name), key=lambda name: ("tiny" not in name, len(name)))
    if not small:
        pytest.skip(f"no checkpoint has {request.param} in its name")
    return small[0]


@pytest.fixture(scope="module")
def pictures(webui: WebUi, checkpoint: str) -> dict[str, np.ndarray]:
    """The pictures of this WebUI, by sampler and technique."""
    made: dict[str, np.ndarray] = {}
    for sampler in SAMPLERS:
        if sampler not in webui.samplers:
            continue
        for name, request in TECHNIQUES.items():
            made[f"{sampler}, {name}"] = picture(webui, checkpoint, request or None, sampler_name=sampler)
        again = picture(webui, checkpoint, None, sampler_name=sampler)
        assert np.array_equal(again, made[f"{sampler}, plain"]), f"{sampler}: the plain picture has changed"
    return made


def picture(webui: WebUi, checkpoint: str, request: Any, **fields: Any) -> np.ndarray:
    known = {name: value for name, value in JOB["override_settings"].items() if name in webui.options}
    options = {**known, "sd_model_checkpoint": checkpoint}
    made = webui.txt2img(request, **{**JOB, **fields, "override_settings": options})
    return np.frombuffer(made.pixels[0], np.uint8).astype(int)


@pytest.fixture(scope="module")
def others(webui: WebUi, checkpoint: str, pictures: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """The other WebUIs' pictures of the same checkpoint, by their names."""
    if "SDFM_PARITY" not in os.environ:
        pytest.skip("SDFM_PARITY names no folder for the pictures of several WebUIs")
    folder = Path(os.environ["SDFM_PARITY"]) / checkpoint
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{webui.host}.npz", **pictures)
    found = {file.stem: dict(np.load(file)) for file in sorted(folder.glob("*.npz")) if file.stem != webui.host}
    if not found:
        pytest.skip(f"no other WebUI's pictures are in {folder} yet")
    return found


def farthest(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one - other).max())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_techniques_agree_where_plain_pictures_do(webui: WebUi, pictures: dict, others: dict, sampler: str):
    told, compared = [], 0
    for host, theirs in others.items():
        plain = f"{sampler}, plain"
        if plain not in theirs or plain not in pictures:
            told.append(f"{host} or {webui.host} has no {sampler}")
            continue
        if theirs[plain].shape != pictures[plain].shape:
            told.append(f"{host}'s pictures have another size")
            continue
        apart = farthest(pictures[plain], theirs[plain])
        found = {name: farthest(pictures[f"{sampler}, {name}"], theirs[f"{sampler}, {name}"]) for name in TECHNIQUES}
        if apart > ALIKE:
            told.append(f"plain pictures of {host} and {webui.host} differ by {apart}: {found}")
            continue
        compared += 1
        print(f"{sampler}, {host} and {webui.host}: {found}")
        assert max(found.values()) <= NEAR, (host, found)
    print(*told, sep="\n")
    if not compared:
        pytest.skip("; ".join(told))


def test_each_technique_changes_the_picture(pictures: dict):
    for label, made in pictures.items():
        plain = pictures[f"{label.split(', ')[0]}, plain"]
        assert label.endswith("plain") or farthest(made, plain) > 5, label


THRESHOLDING = "DynamicThresholding (CFG-Fix) Integrated"


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("mode", "most"), [("Constant", NEAR), ("Cosine Up", 255)])
def test_thresholding_is_forges_own(webui: WebUi, checkpoint: str, sampler: str, mode: str, most: int):
    """With a curve they differ: ours follows the sampler's steps, as the original extension does, Forge's the model's time."""
    if webui.host != FORGE:
        pytest.skip(f"{webui.host} has no thresholding of Forge's")
    arguments = [True, 3.0, 0.9, mode, 1.0, "Constant", 0.0, 1.0, "enable", "MEAN", "AD", 1.0]
    theirs = picture(webui, checkpoint, None, sampler_name=sampler, alwayson_scripts={THRESHOLDING: {"args": arguments}})
    settings = {"mimic_scale": 3, "percentile": 90, "mimic_mode": mode, "mimic_minimum": 1}
    ours = picture(webui, checkpoint, {"dynamic_thresholding": settings}, sampler_name=sampler)
    print(sampler, mode, farthest(ours, theirs))
    assert farthest(ours, theirs) <= most
