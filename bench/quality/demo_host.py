"""The demo's WebUI in this process, driven through its API."""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tools.tiny_model import DEMO


@dataclass(frozen=True)
class Painted:
    """Pictures ``(n, H, W, 3)`` of bytes, and how often the denoiser was called for them."""

    pictures: np.ndarray
    calls: int


class DemoHost:
    """:param http: a client of the host's app"""

    def __init__(self, http: Any) -> None:
        self._http = http

    @classmethod
    def started(cls) -> DemoHost:
        """With the extension and the shipped checkpoints; one in a process. It writes nothing that stays."""
        data = tempfile.mkdtemp(prefix="sdfm-quality-")
        os.environ.update(SDFM_DEMO_DATA=data, COMMANDLINE_ARGS="--no-prompt-history", GRADIO_ANALYTICS_ENABLED="False")
        os.environ.pop("SDFM_DEMO_MODELS", None)
        if str(DEMO) not in sys.path:
            sys.path.insert(0, str(DEMO))
        from modules import initialize
        from starlette.testclient import TestClient

        initialize.load()
        return cls(TestClient(initialize.create_app()[0]))

    def paint(self, request: dict[str, Any], prompts: list[str], seeds: list[int]) -> Painted:
        """One batch with a prompt and a seed for each picture.

        :raises RuntimeError: with the answer, if it is an error
        """
        body = {**request, "prompt": prompts, "seed": seeds, "batch_size": len(prompts)}
        body["override_settings"] = {**body.get("override_settings", {}), "return_grid": False}
        with _counted() as calls:
            answer = self._http.post("/sdapi/v1/txt2img", json=body)
        if answer.status_code != 200:
            raise RuntimeError(f"{request}: {answer.status_code} {answer.text}")
        opened = [Image.open(io.BytesIO(base64.b64decode(picture))) for picture in answer.json()["images"]]
        return Painted(np.stack([np.asarray(picture.convert("RGB")) for picture in opened]), len(calls))


@contextmanager
def _counted() -> Iterator[list[None]]:
    """An entry for each call of the denoiser while it is open."""
    from modules import script_callbacks

    calls: list[None] = []

    def count(params: Any) -> None:
        calls.append(None)

    script_callbacks.on_cfg_denoiser(count)
    try:
        yield calls
    finally:
        script_callbacks.remove_callbacks_for_function(count)
