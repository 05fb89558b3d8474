"""Scripts of a host or another extension that do the same as one of our techniques."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib_sdfm.planning.plan import plan_of
from lib_sdfm.schema.settings import Schema, Settings

from .old_entries import scripts_of

LEAST_RESCALE = 0.05
"""Forge Neo's smallest value that rescales."""


def _is_switch(value: Any) -> bool:
    return value is True


def _rescales(value: Any) -> bool:
    return isinstance(value, int | float) and value >= LEAST_RESCALE


SWITCHES: dict[str, Callable[[Any], bool]] = {"rescalecfg": _rescales}
"""By title, function from a script's first argument to true if it is on; for all others that argument is a switch."""
APG_AND_LIMITER = '"apg\'s now your cfg" and guidance limiter for reforge'
BUILT_INS = {
    "freeu integrated": "freeu",
    "freeu integrated (sd 1.x, sd 2.x, sdxl)": "freeu",
    "perturbedattentionguidance integrated": "pag",
    "perturbed-attention guidance": "pag",
    "smoothed energy guidance": "seg",
    "dynamicthresholding (cfg-fix) integrated": "dynamic_thresholding",
    "rescalecfg for reforge": "cfg_rescale",
    "rescalecfg": "cfg_rescale",
    "mahiro": "mahiro",
    "mahiro cfg for reforge": "mahiro",
    APG_AND_LIMITER: "apg",
}
"""Techniques by the lower-case title of a script of Forge, Forge Neo, reForge or pamparamm that does the same."""
LIMITER = 5
"""Place of the guidance limiter's switch, among the arguments of reForge's script with two of them."""
IN_CFGS_PLACE = {"dynamic_thresholding", "cfg_rescale", "apg", "cfg_schedule"}
"""Those whose scripts compute CFG: a technique of ours that does so too gets what they give."""


def built_ins_on(p: Any) -> list[tuple[str, str]]:
    """Return title and technique of the scripts that are on in a job."""
    theirs = [(script, args) for script, args in scripts_of(p) if not hasattr(script, "entry")]  # ours are payloads
    with_args = [(str(script.title()), args) for script, args in theirs if args]
    on = [
        (title, BUILT_INS[title.lower()])
        for title, args in with_args
        if title.lower() in BUILT_INS and SWITCHES.get(title.lower(), _is_switch)(args[0])
    ]
    limiters = [title for title, args in with_args if title.lower() == APG_AND_LIMITER and any(map(_is_switch, args[LIMITER:]))]
    return on + [(title, "cfg_schedule") for title in limiters]


def notes_on_both(schema: Schema, settings: Settings, built_ins: list[tuple[str, str]]) -> list[str]:
    """Return a note for each script that does what a technique of the job does, or on whose result one acts."""
    computes = next((t.label for t in plan_of(schema, settings).techniques if t.combines()), None)
    notes = []
    for title, technique in built_ins:
        if technique in IN_CFGS_PLACE and computes is not None:
            notes.append(f"{title} is on as well, and SDFM's {computes} acts on its result. Turn off one of them")
        elif technique in settings.techniques:
            notes.append(f"{title} is on as well, and both act. Turn off one of them")
    return notes
