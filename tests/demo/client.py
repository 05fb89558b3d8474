"""Drives the demo host in this process."""

from __future__ import annotations

import base64
import io
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

DEFAULTS = {
    "prompt": "a red house",
    "seed": 1,
    "steps": 4,
    "width": 128,
    "height": 128,
    "sampler_name": "Euler",
    "cfg_scale": 5,
}


@dataclass(frozen=True)
class Answer:
    """The API's answer to a job."""

    status: int
    body: dict
    pictures: list

    @property
    def pixels(self) -> np.ndarray:
        return np.asarray(self.pictures[0]).astype(int)

    @property
    def text(self) -> str:
        return json.loads(self.body["info"])["infotexts"][0]


class Host:
    """The host; ``demo`` is its folder, ``plain`` has pictures that were made before the extension was loaded."""

    def __init__(self, demo: Path) -> None:
        from modules import extensions, initialize
        from starlette.testclient import TestClient

        self.demo = demo
        self._initialize, self._client_class = initialize, TestClient
        installed, extensions.extensions = extensions.extensions, []
        self._start()
        self.scripts_without_extension = self.get("scripts")
        self.plain = {name: self.txt2img(sampler_name=name).pixels for name in ("Euler", "DDIM", "DPM++ SDE")}
        extensions.extensions = installed
        self._start()

    def _start(self) -> None:
        self._initialize.load()
        self.app, self.blocks = self._initialize.create_app()
        self.http = self._client_class(self.app)

    def reset(self) -> None:
        from modules import errors, sd_models, shared

        shared.opts.data.clear()
        errors.exception_records.clear()
        sd_models.reload_model_weights()

    @property
    def swallowed(self) -> list[str]:
        from modules import errors

        return errors.exception_records

    def get(self, path: str) -> dict:
        return self.http.get(f"/sdapi/v1/{path}").json()

    def post(self, path: str, body: dict) -> Answer:
        answer = self.http.post(path, json=body)
        said = answer.json()
        pictures = said.get("images") or [] if isinstance(said, dict) else []
        opened = [Image.open(io.BytesIO(base64.b64decode(picture))) for picture in pictures]
        return Answer(answer.status_code, said, opened)

    def txt2img(self, **fields) -> Answer:
        return self.post("/sdapi/v1/txt2img", {**DEFAULTS, **fields})

    def img2img(self, picture: Image.Image, **fields) -> Answer:
        return self.post("/sdapi/v1/img2img", {**DEFAULTS, "init_images": [encoded(picture)], **fields})

    def guided(self, *args, **fields) -> Answer:
        """With arguments for the extension."""
        return self.txt2img(alwayson_scripts={"SDFM": {"args": list(args)}}, **fields)

    @contextmanager
    def callback(self, category: str, function):
        """While it is open, a callback of an extension."""
        from modules import script_callbacks

        callbacks = script_callbacks.callback_map[f"callbacks_{category}"]
        callbacks.insert(0, script_callbacks.ScriptCallback(__file__, function))
        try:
            yield
        finally:
            script_callbacks.remove_callbacks_for_function(function)

    @contextmanager
    def calls(self):
        """The parameters of each denoiser call."""
        seen: list = []

        def hear(params) -> None:
            seen.append(params)

        with self.callback("cfg_denoiser", hear):
            yield seen


def encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
