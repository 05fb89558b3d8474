"""Pictures: grids, files with their generation parameters, and reading these."""

from __future__ import annotations

import math
import os
from typing import Any

from PIL import Image, PngImagePlugin

from modules import paths
from modules.labels import draw_labels as draw_labels


def image_grid(pictures: list[Image.Image], batch_size: int = 1, rows: int | None = None) -> Image.Image:
    """All in one, about as wide as high."""
    rows = rows or round(math.sqrt(len(pictures)))
    columns = math.ceil(len(pictures) / rows)
    width, height = (max(picture.size[axis] for picture in pictures) for axis in (0, 1))
    grid = Image.new("RGB", (columns * width, rows * height), "black")
    for i, picture in enumerate(pictures):
        grid.paste(picture, (i % columns * width, i // columns * height))
    return grid


def png_metadata(picture: Image.Image) -> PngImagePlugin.PngInfo:
    """The texts that go with a picture."""
    metadata = PngImagePlugin.PngInfo()
    for key, value in picture.info.items():
        if isinstance(key, str) and isinstance(value, str):
            metadata.add_text(key, value)
    return metadata


def save_image(
    image: Image.Image, path: str | None, basename: str, seed: Any = None, info: str | None = None, p: Any = None
) -> str:
    """Writes a PNG under the next free number; returns its name."""
    folder = path or paths.outputs_path
    os.makedirs(folder, exist_ok=True)
    number = sum(name.endswith(".png") for name in os.listdir(folder))
    while True:
        filename = os.path.join(folder, f"{number:05}-{basename + '-' if basename else ''}{seed}.png")
        if not os.path.exists(filename):
            break
        number += 1
    if info is not None:
        image.info["parameters"] = info
    image.save(filename, pnginfo=png_metadata(image))
    return filename


def read_info_from_image(image: Image.Image) -> tuple[str | None, dict[str, Any]]:
    """The generation parameters in a picture, and everything else that is written in it."""
    items = dict(image.info)
    return items.pop("parameters", None), {key: value for key, value in items.items() if isinstance(value, str | int | float)}
