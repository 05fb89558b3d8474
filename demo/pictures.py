"""The example pictures: three published texts through the API's infotext field, and two rows side by side."""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import time
import urllib.error
import urllib.request
from typing import Any

from examples import EXAMPLES
from modules import images, paths
from PIL import Image


def _guided(**techniques: Any) -> dict[str, Any]:
    return {"alwayson_scripts": {"SDFM": {"args": [techniques]}}}


def _refined(switch_at: float) -> dict[str, Any]:
    return {"refiner_checkpoint": "shapes-ink", "refiner_switch_at": switch_at}


COMPARED: dict[str, dict[str, Any]] = {
    "grid": {
        "off": {},
        "PAG 1": _guided(pag={"scale": 1}),
        "PAG 3": _guided(pag={"scale": 3}),
        "PAG 3 SANF": _guided(pag={"scale": 3, "sanf": True}),
    },
    "refiner": {
        "shapes-eps": {},
        "ink from 0.7": _refined(0.7),
        "ink from 0.4": _refined(0.4),
        "shapes-ink": {"override_settings": {"sd_model_checkpoint": "shapes-ink"}},
    },
}
"""Rows of pictures: what each is called, and the fields that it adds to the others'."""
COMMON = {"prompt": "three red circles on blue", "seed": 7, "cfg_scale": 4, "steps": 20, "sampler_name": "Euler"}


def post(address: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """JSON to JSON.

    :raises RuntimeError: with the answer's text, if it is an error
    """
    request = urllib.request.Request(
        address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{path}: {error.code} {error.read().decode()}") from error


def txt2img(address: str, body: dict[str, Any]) -> tuple[Image.Image, str]:
    """The first picture and its text."""
    answer = post(address, "/sdapi/v1/txt2img", body)
    picture = Image.open(io.BytesIO(base64.b64decode(answer["images"][0])))
    return picture, json.loads(answer["info"])["infotexts"][0]


def _fitted(text: str, size: int) -> tuple[int, int]:
    """The text's shape at a size that a CPU can bear."""
    width, height = map(int, re.search(r"Size: (\d+)x(\d+)", text).groups())
    shrink = size / (width * height) ** 0.5
    return tuple(max(64, round(side * shrink / 32) * 32) for side in (width, height))


def _told(address: str, text: str) -> list[str]:
    """What the extension says of a text."""
    try:
        said = post(address, "/sdfm/v1/explain", {"infotext": text})
    except RuntimeError:  # started without it
        return []
    lines = [f"{kind}: {line}" for kind in ("errors", "warnings", "unknown") for line in said.get(kind) or ()]
    return lines + [f"without effect: {item['technique']}, {item['why']}" for item in said.get("inert") or ()]


def _make_example(address: str, name: str, text: str, options: argparse.Namespace) -> None:
    width, height = _fitted(text, options.size)
    body = {"infotext": text, "width": width, "height": height}
    if options.steps:
        body["steps"] = options.steps
    for line in _told(address, text):
        print(f"    {line}")
    started = time.perf_counter()
    picture, infotext = txt2img(address, body)
    _save(picture, f"example-{name}", infotext, time.perf_counter() - started)


def _save(picture: Image.Image, name: str, infotext: str, seconds: float) -> None:
    picture.info["parameters"] = infotext
    path = os.path.join(paths.outputs_path, f"{name}.png")
    picture.save(path, pnginfo=images.png_metadata(picture))
    print(f"    {infotext}\n    {path} ({seconds:.1f} s)\n", flush=True)


def _make_row(address: str, name: str, options: argparse.Namespace) -> None:
    common = {**COMMON, "width": options.size, "height": options.size, "steps": options.steps or COMMON["steps"]}
    pictures, texts = [], []
    started = time.perf_counter()
    for label, fields in COMPARED[name].items():
        picture, text = txt2img(address, {**common, **fields})
        print(f"    {label}: {' '.join(text.splitlines())}")
        pictures.append(picture)
        texts.append(text)
    row = images.draw_labels(images.image_grid(pictures, rows=1), list(COMPARED[name]), [])
    _save(row, name, texts[-1], time.perf_counter() - started)


def make_all(address: str, options: argparse.Namespace) -> None:
    """Makes and names everything."""
    for name, text in EXAMPLES.items():
        print(f"({name})", flush=True)
        _make_example(address, name, text, options)
    for name, row in COMPARED.items():
        print(f"{name}: {' | '.join(row)}")
        _make_row(address, name, options)
