"""Versions of the WebUI in generation parameters, and settings that texts of older ones imply."""

from __future__ import annotations

import re
from typing import Any

VERSION = "v1.10.1-sdfm-demo"
NUMBERS = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)(?:-(\d+))?")
V160, V170_TSNR, V180 = (1, 6, 0, 0), (1, 7, 0, 225), (1, 8, 0, 0)


def parse_version(text: str | None) -> tuple[int, ...] | None:
    """Major, minor, patch and commits since; None for the numbering of other hosts."""
    match = NUMBERS.match(text or "")
    return tuple(int(number or 0) for number in match.groups()) if match else None


def backcompat(params: dict[str, Any]) -> None:
    """Adds the settings that a text of an old version needs."""
    version = parse_version(params.get("Version"))
    if version is None:
        return
    if version < V160 and "[" in params.get("Prompt", "") + params.get("Negative prompt", ""):
        params["Old prompt editing timelines"] = True
    if version < V160 and params.get("Sampler", "") in ("DDIM", "PLMS"):
        params["Pad conds v0"] = True
    if version < V170_TSNR:
        params["Downcast alphas_cumprod"] = True
    if version < V180 and params.get("Refiner"):
        params["Refiner switch by sampling steps"] = True
