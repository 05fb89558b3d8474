"""A client of the WebUI's API."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_sdfm.sampling.sampler_names import resolve_sampler

A1111, FORGE, NEO, REFORGE = "AUTOMATIC1111", "Forge", "Forge Neo", "reForge"
OPTIONS = {NEO: "refiner_use_steps", REFORGE: "sd_sampling"}
"""Options that only one WebUI has."""

SMALL = {
    "prompt": "a house", "negative_prompt": "blurry", "seed": 5, "sampler_name": "DPM++ 2M", "scheduler": "Karras", "steps": 8,
    "width": 128, "height": 128, "cfg_scale": 5,
}  # fmt: skip
"""A picture that takes half a second with a small checkpoint on a CPU."""


class Refused(Exception):
    """The WebUI answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


@dataclass(frozen=True)
class Pictures:
    """The answer to a request: each picture's bytes, RGB row by row, and its generation parameters."""

    pixels: list[bytes]
    texts: list[str]

    def difference(self, other: Pictures) -> float:
        """Mean absolute difference of the first pictures, of 255."""
        one, two = (np.frombuffer(pictures.pixels[0], np.uint8).astype(int) for pictures in (self, other))
        return float(np.abs(one - two).mean())


class WebUi:
    """A running WebUI.

    :param url: its address
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @cached_property
    def host(self) -> str:
        """Which WebUI it is; Forge chooses text encoders and VAE at one place."""
        for host, option in OPTIONS.items():
            if option in self.options:
                return host
        try:
            self.get("/sdapi/v1/sd-modules")
        except Refused:
            return A1111
        return FORGE

    @cached_property
    def options(self) -> dict[str, Any]:
        """Its options, as they were at first."""
        return self.get("/sdapi/v1/options")

    @property
    def is_forge(self) -> bool:
        """True for Forge and Forge Neo."""
        return self.host in (FORGE, NEO)

    @cached_property
    def samplers(self) -> list[str]:
        """The names of its samplers."""
        return [entry["name"] for entry in self.get("/sdapi/v1/samplers")]

    def name_of(self, sampler: str) -> str:
        """Its own name of a sampler that SDFM knows; the test is skipped if it has none."""
        record = resolve_sampler(sampler).sampler
        found = [own for own in self.samplers if record is not None and resolve_sampler(own).sampler is record]
        if record is not None and not found:
            pytest.skip(f"{self.host} has no sampler {sampler}")
        return found[0] if found else sampler

    @property
    def by_steps(self) -> dict[str, Any]:
        """The options with which a refiner's "switch at" is a share of the steps, or of the model's time, as elsewhere."""
        return {"refiner_use_steps": True} if self.host == NEO else {}

    def is_for_flow(self, sampler: str) -> bool:
        """Return True if it is one for flow models alone, which gives black pictures with others."""
        return self.host in (NEO, REFORGE) and sampler.endswith("RF")

    def can_switch_to(self, refiner: str) -> bool:
        """Return True if it can go on with a refiner; Forge Neo fails by itself with one of another architecture."""
        if self.host != NEO:
            return True
        try:
            self.txt2img(steps=3, refiner_checkpoint=refiner, refiner_switch_at=0.5)
        except Refused as refused:
            assert refused.status == 500 and "AssertionError" in refused.text, refused
            return False
        return True

    def plot_of(self, axis: str, values: str) -> dict[str, Any]:
        """The fields of a request for a plot with one axis; Forge Neo's and reForge's scripts have more arguments."""
        name, nothing = "x/y/z plot", 0
        known = next(script for script in self.get("/sdapi/v1/script-info") if script["name"] == name)["args"]
        args = [nothing if argument.get("choices") else argument["value"] for argument in known]
        args[[argument["label"] for argument in known].index("Include Sub Images")] = True
        args[:3] = [known[0]["choices"].index(axis), values, []]
        return {"script_name": name, "script_args": args}

    def get(self, path: str) -> Any:
        """The JSON answer of a path."""
        return self._open(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON answer to a JSON body."""
        data = json.dumps(body or {}).encode()
        return self._open(urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}))

    def txt2img(self, sdfm: Any = None, **request: Any) -> Pictures:
        """Pictures of a request on top of :data:`SMALL`.

        :param sdfm: our settings, a dictionary; or the list of arguments
        """
        return self._pictures("/sdapi/v1/txt2img", sdfm, request)

    def img2img(self, sdfm: Any = None, **request: Any) -> Pictures:
        """Pictures made from a grey one."""
        grey = io.BytesIO()
        Image.new("RGB", (128, 128), (90, 120, 150)).save(grey, "PNG")
        image = base64.b64encode(grey.getvalue()).decode()
        return self._pictures("/sdapi/v1/img2img", sdfm, {"init_images": [image], **request})

    def _pictures(self, path: str, sdfm: Any, request: dict[str, Any]) -> Pictures:
        body = self._possible({**SMALL, **request})
        if body.get("enable_hr") and self.host != A1111:  # without it: CFG scale 1
            body = {"hr_cfg": body["cfg_scale"], **body}
        if body.get("enable_hr") and self.is_forge:  # without it: an error 500
            body = {"hr_additional_modules": ["Use same choices"], **body}
        if sdfm is not None:
            scripts = {"SDFM": {"args": sdfm if isinstance(sdfm, list) else [sdfm]}}
            body["alwayson_scripts"] = {**scripts, **body.get("alwayson_scripts", {})}
        return self._made(path, body)

    def _possible(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request as this WebUI can run it; the test is skipped if it can't."""
        for field in ("sampler_name", "hr_sampler_name"):
            if body.get(field):
                self.name_of(body[field])
        if self.host == NEO and body.get("enable_hr"):
            if body.get("refiner_checkpoint"):
                pytest.skip("Forge Neo's refiner does nothing with a hires pass")
            if body.get("hr_upscaler", "Latent") == "Latent":  # which it hasn't
                body["hr_upscaler"] = "None"
        return body

    def pasted(self, text: str) -> Pictures:
        """Pictures of generation parameters alone.

        A1111 takes what its panel calls "Use same sampler" for a sampler's name, where it isn't told that there is none.
        """
        return self._made("/sdapi/v1/txt2img", {"infotext": text, "hr_sampler_name": None, "hr_scheduler": None})

    def _made(self, path: str, body: dict[str, Any]) -> Pictures:
        answer = self.post(path, body)
        images = [Image.open(io.BytesIO(base64.b64decode(image))) for image in answer["images"]]
        return Pictures([image.convert("RGB").tobytes() for image in images], json.loads(answer["info"])["infotexts"])

    def _open(self, request: urllib.request.Request) -> Any:
        try:
            with self._opener.open(request, timeout=1200) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode()) from None
