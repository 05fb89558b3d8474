"""Legends of grids: texts that are wrapped, shrunk and at last cut to fit."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

LARGEST, SMALLEST = 16, 9
"""Sizes of the font in pixels."""
MOST_LINES = 4
GAP = 6
"""Pixels around a text."""


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    fonts = Path(importlib.util.find_spec("matplotlib").origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), size)


def wrapped(text: str, width: float, font: ImageFont.FreeTypeFont) -> list[str]:
    """Lines of whole words, none wider than ``width`` unless a single word is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def cut(line: str, width: float, font: ImageFont.FreeTypeFont) -> str:
    """The line, without what is too much of its end."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


def fitted(texts: list[str], width: float, height: float) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """One font for all, as large as fits, and each text in lines."""
    for size in range(LARGEST, SMALLEST - 1, -1):
        font = _font(size)
        most = max(1, min(MOST_LINES, int(height // line_height(font))))
        all_lines = [wrapped(text, width, font) for text in texts]
        if all(len(lines) <= most and max(map(font.getlength, lines), default=0) <= width for lines in all_lines):
            break
    kept = [lines if len(lines) <= most else [*lines[: most - 1], " ".join(lines[most - 1 :])] for lines in all_lines]
    return font, ["\n".join(cut(line, width, font) for line in lines) for lines in kept]


def line_height(font: ImageFont.FreeTypeFont) -> int:
    """From one line to the next, in pixels."""
    return round(font.size * 1.3)


def draw_labels(grid: Image.Image, columns: list[str], rows: list[str]) -> Image.Image:
    """A grid with a legend above its columns, and one at the left where a row has a text."""
    width, height = grid.width / len(columns), grid.height / max(len(rows), 1)
    left, top = _left(rows, width), 0
    above, columns = fitted(columns, width - 2 * GAP, grid.height)
    if any(columns):
        top = max(text.count("\n") + 1 for text in columns) * line_height(above) + 2 * GAP
    labelled = Image.new("RGB", (grid.width + left, grid.height + top), "white")
    labelled.paste(grid, (left, top))
    draw = ImageDraw.Draw(labelled)
    for i, text in enumerate(columns):
        _centred(draw, (left + (i + 0.5) * width, top / 2), text, above)
    beside, rows = fitted(rows, left - 2 * GAP, height)
    for i, text in enumerate(rows):
        _centred(draw, (left / 2, top + (i + 0.5) * height), text, beside)
    return labelled


def _left(rows: list[str], width: float) -> int:
    """The margin at the left: of the longest text in one line, but no more than three quarters of a picture."""
    longest = max(map(_font(LARGEST).getlength, rows), default=0)
    return round(min(longest + 2 * GAP, 0.75 * width)) if longest else 0


def _centred(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, font: ImageFont.FreeTypeFont) -> None:
    spacing = line_height(font) - font.size
    draw.multiline_text(place, text, fill="black", font=font, anchor="mm", align="center", spacing=spacing)
