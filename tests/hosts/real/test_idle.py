"""With nothing on, SDFM changes no bit of a picture or its text: the same jobs in a WebUI with it and without it.

The variable ``SDFM_ABSENT`` names a folder. Run this once against the WebUI without SDFM, which keeps the pictures there, and
once against the same WebUI with it.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.real.client import Pictures, Refused, WebUi

EULER = {"sampler_name": "Euler", "scheduler": "Automatic"}
SHORT = {"steps": 4, "width": 64, "height": 64}
HIRES = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.6}
JOBS: dict[str, dict[str, Any]] = {
    **{f"batch, {sampler}": {"sampler_name": sampler, "scheduler": "Automatic", "batch_size": 2}
       for sampler in ("Euler a", "DPM++ 2M", "DDIM", "LCM", "UniPC")},
    "CFG 1": {**EULER, "cfg_scale": 1},
    "AND": {**EULER, "prompt": "a house :1.2 AND a tree :0.5"},
    "prompt editing": {**EULER, "prompt": "[a house:a tree:0.5], [red|blue] hill", "negative_prompt": "[blurry:dark:2]"},
    "unequal lengths": {**EULER, "prompt": "a house in the hills, " * 20},
    "NGMS": {**EULER, "s_min_uncond": 5},
    "hires": {**EULER, **HIRES},
    "hires, another sampler": {**EULER, **HIRES, "hr_sampler_name": "DPM++ 2M"},
    "several batches": {"n_iter": 2},
    "variation": {**EULER, "subseed": 7, "subseed_strength": 0.4},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(webui: WebUi) -> Path:
    if "SDFM_ABSENT" not in os.environ:
        pytest.skip("SDFM_ABSENT names no folder for the pictures of the WebUI without SDFM")
    found = Path(os.environ["SDFM_ABSENT"]) / webui.host
    found.mkdir(parents=True, exist_ok=True)
    return found


@pytest.fixture(scope="module")
def is_absent(webui: WebUi) -> bool:
    try:
        webui.get("/sdfm/v1/schema")
    except Refused as refused:
        assert refused.status == 404
        return True
    return False


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_idle_is_absent(webui: WebUi, folder: Path, is_absent: bool, kind: str, name: str):
    titles = [model["model_name"] for model in webui.get("/sdapi/v1/sd-models") if kind in model["model_name"]]
    checkpoint = min(titles, key=lambda title: ("tiny" not in title, len(title)))
    made = webui.txt2img(**{**SHORT, **JOBS[name], "override_settings": {"sd_model_checkpoint": checkpoint}})
    kept = folder / f"{kind} {name}.pickle"
    if is_absent:
        kept.write_bytes(pickle.dumps((made.pixels, made.texts)))
        pytest.skip("this WebUI has no SDFM: its picture is kept")
    if not kept.exists():
        pytest.skip(f"{kept} is missing: run this against the WebUI without SDFM first")
    pixels, texts = pickle.loads(kept.read_bytes())
    assert Pictures(pixels, texts) == made
