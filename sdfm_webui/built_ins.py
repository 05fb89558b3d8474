"""Scripts of a host or another extension that do the same as one of our techniques."""

from __future__ import annotations

from typing import Any

from .old_entries import scripts_of

BUILT_INS = {
    "freeu integrated": "freeu",
    "freeu integrated (sd 1.x, sd 2.x, sdxl)": "freeu",
    "perturbedattentionguidance integrated": "pag",
    "perturbed-attention guidance": "pag",
    "smoothed energy guidance": "seg",
    "dynamicthresholding (cfg-fix) integrated": "dynamic_thresholding",
    "rescalecfg for reforge": "cfg_rescale",
}
"""Techniques by the lower-case title of a script of Forge, reForge or pamparamm that does the same. The first argument of
each script is its switch."""


def built_ins_on(p: Any) -> list[tuple[str, str]]:
    """Return title and technique of the scripts that are on in a job."""
    theirs = [(script, args) for script, args in scripts_of(p) if not hasattr(script, "entry")]  # ours are payloads
    on = [str(script.title()) for script, args in theirs if args and args[0] is True]
    return [(title, BUILT_INS[title.lower()]) for title in on if title.lower() in BUILT_INS]
