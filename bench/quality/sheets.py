"""The demo's sheets: of each technique the same prompts and seeds without and with it, and the figures of both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.quality.rows import Measured
from tools import drawing

INDEX = "sheets.json"
QUALITY = 85


@dataclass(frozen=True)
class Sheet:
    """Two settings, one row of pictures each."""

    file: str
    title: str
    without: str
    with_it: str


SHEETS = (
    Sheet("pag", "PAG", "CFG 4", "CFG 4, PAG 3"),
    Sheet("pag-no-prompt", "PAG, without a prompt", "no prompt, off", "no prompt, PAG 3"),
    Sheet("seg", "SEG", "CFG 4", "CFG 4, SEG 3"),
    Sheet("seg-no-prompt", "SEG, without a prompt", "no prompt, off", "no prompt, SEG 3"),
    Sheet("sanf", "PAG with SANF", "CFG 4, PAG 3", "CFG 4, PAG 3, SANF"),
    Sheet("cfgpp", "CFG++", "CFG 7", "CFG++ 0.56"),
    Sheet("interval", "CFG interval", "CFG 12", "CFG 12, interval"),
    Sheet("dynamic-thresholding", "Dynamic thresholding", "CFG 20", "CFG 20, dynamic thresholding"),
    Sheet("cfg-rescale", "CFG rescale", "CFG 12", "CFG 12, CFG rescale"),
    Sheet("freeu", "FreeU", "CFG 4", "CFG 4, FreeU"),
    Sheet("flow", "Flow matching", "flow, taken for a noise model", "flow, Euler, 20 calls"),
    Sheet("flow-samplers", "Flow matching, samplers", "flow, Euler, 10 calls", "flow, DPM++ 2M, 10 calls"),
    Sheet("refiner", "Refiner sync", "refiner, prompt by number", "refiner, prompt synced"),
)


def write(folder: Path, measured: dict[str, Measured], rows: list[dict[str, Any]]) -> list[Sheet]:
    """Pictures and the index of those sheets whose settings are there; other files stay as they are.

    :param measured: by the settings' names
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {row["setting"]: row for row in rows}
    made = [sheet for sheet in SHEETS if sheet.without in figures and sheet.with_it in figures]
    for sheet in made:
        pictures = np.concatenate([measured[name].shown for name in (sheet.without, sheet.with_it)])
        columns = len(pictures) // 2
        Image.fromarray(drawing.sheet(list(pictures), columns)).save(folder / f"{sheet.file}.webp", quality=QUALITY, method=6)
    index = [{"title": sheet.title, "file": f"{sheet.file}.webp", "rows": [figures[sheet.without], figures[sheet.with_it]]}
             for sheet in made]  # fmt: skip
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf8")
    return made
