"""The example pictures: pairs without the extension's help and with it, and published texts through the API's infotext."""

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
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from examples import EXAMPLES
from modules import images, paths
from PIL import Image


def _guided(**techniques: Any) -> dict[str, Any]:
    return {"alwayson_scripts": {"SDFM": {"args": [techniques]}}}


def _with(checkpoint: str, **more: Any) -> dict[str, Any]:
    return {"override_settings": {"sd_model_checkpoint": checkpoint}, **more}


@dataclass(frozen=True)
class Pair:
    """Two pictures of the same prompt and seed.

    :param fields: what both have
    :param off: what the first has besides
    :param on: what the second has besides
    """

    prompt: str
    on: dict[str, Any]
    off: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


PAIRS: dict[str, Pair] = {
    "v-prediction": Pair(
        "two blue stars on orange",
        _guided(model={"kind": "v-prediction", "zero_terminal_snr": True}),
        fields=_with("shapes-v"),
    ),
    "flow matching": Pair("a green triangle on white", _guided(flow={"shift": 3}), fields=_with("shapes-flow", seed=3)),
    "CFG 2, PAG 4": Pair(
        "four equal squares in two rows on black", _guided(pag={"scale": 4}), fields={"cfg_scale": 2, "seed": 44}
    ),
    "CFG 20, thresholded": Pair(
        "three red circles on blue",
        _guided(dynamic_thresholding={"mimic_scale": 5}),
        fields={"cfg_scale": 20, "seed": 0},
    ),
    "CFG 15, APG": Pair(
        "a large yellow star on purple", _guided(apg={"norm_threshold": 1.9}), fields={"cfg_scale": 15, "seed": 3}
    ),
    "CFG 12, CFG++": Pair("two green squares on white", _guided(cfgpp={"scale": 0.96}), fields={"cfg_scale": 12, "seed": 2}),
    "refiner, synced prompt": Pair(
        "[two purple triangles on yellow:two purple stars on yellow:refiner]",
        {"refiner_checkpoint": "shapes-ink", "refiner_switch_at": 0.4},
        {"prompt": "two purple triangles on yellow"},
        {"seed": 0},
    ),
}
"""Pictures beside each other without the extension's help and with it, by what is shown.

Seeds are chosen; those of the sheets are not.
"""
COMMON = {"seed": 7, "cfg_scale": 4, "steps": 20, "sampler_name": "Euler"}
ZOOM = 2
"""How much larger than they were made pairs are shown."""


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
    """Return the extension's remarks on a text."""
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


def _make_pairs(address: str, options: argparse.Namespace) -> None:
    """A sheet: pairs beside each other, off above on."""
    common = {**COMMON, "width": options.size, "height": options.size, "steps": options.steps or COMMON["steps"]}
    pictures, texts, started = [], [], time.perf_counter()
    for which in ("off", "on"):
        for name, pair in PAIRS.items():
            picture, text = txt2img(address, {**common, "prompt": pair.prompt, **pair.fields, **getattr(pair, which)})
            print(f"    {name}, {which}: {' '.join(text.splitlines())}")
            pictures.append(picture.resize((ZOOM * picture.width, ZOOM * picture.height), Image.Resampling.NEAREST))
            texts.append(text)
    sheet = images.draw_labels(images.image_grid(pictures, rows=2), list(PAIRS), ["off", "on"])
    _save(sheet, "pairs", texts[-1], time.perf_counter() - started)


def make_all(address: str, options: argparse.Namespace) -> None:
    """Makes and names everything; what is there stays, unless asked for again."""
    makers = {"pairs": partial(_make_pairs, address, options)}
    for name, text in EXAMPLES.items():
        makers[f"example-{name}"] = partial(_make_example, address, name, text, options)
    for name, make in makers.items():
        path = os.path.join(paths.outputs_path, f"{name}.png")
        if os.path.exists(path) and not options.again:
            print(f"{name} is there: {path}", flush=True)
            continue
        print(name, flush=True)
        make()
