"""Warnings of a job: comments under its pictures, and one line in the log for the API, whose answer has no place for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from lib_sdfm.hosts.refiner import has_refiner
from lib_sdfm.ops.thresholding import AD, MEAN
from lib_sdfm.planning.advice import advice_on
from lib_sdfm.prompts.marks import mark_notes
from lib_sdfm.prompts.stored import KINDS, passes_of
from lib_sdfm.schema.infotext import read_infotext
from lib_sdfm.schema.originals import OldEntry
from lib_sdfm.schema.settings import Schema, Settings
from lib_sdfm.techniques.cfgpp import CfgPlusPlus
from lib_sdfm.techniques.dynamic_thresholding import DynamicThresholding
from lib_sdfm.techniques.refiner_sync import RefinerSync

LOG = logging.getLogger("sdfm")
NAMES = {"prompts": "prompt", "negative_prompts": "negative prompt"}


def tell(p: Any, warnings: Iterable[str]) -> None:
    """Show warnings as comments, and log them in one line if the job is the API's; each once per job.

    :param p: the host's processing object
    """
    lines = list(dict.fromkeys(warnings))
    for line in lines:
        p.comment(f"SDFM: {line}")
    if lines and getattr(p, "is_api", False) and getattr(p, "iteration", 0) == 0:
        LOG.warning("SDFM: %s", "; ".join(lines))


def prompt_warnings(p: Any, settings: Settings) -> list[str]:
    """Return the notes on marks in a batch's prompts."""
    is_on = settings.by_default.get(RefinerSync.name, ...) is not None
    prompts = [
        (f"{'hires ' if prefix else ''}{NAMES[kind]}", str(text), negative)
        for prefix in passes_of(p)
        for kind, negative in KINDS.items()
        for text in getattr(p, prefix + kind, None) or ()
    ]
    return mark_notes(prompts, has_refiner(p), is_on)


def scale_warnings(p: Any, settings: Settings) -> list[str]:
    """Return notes on scales with which the picture is ruined."""
    return [advice.text for advice in advice_on(settings, str(getattr(p, "sampler_name", "")), getattr(p, "cfg_scale", None))]


def thresholding_warnings(schema: Schema, settings: Settings, rivals: Iterable[tuple[OldEntry, Sequence[Any]]]) -> list[str]:
    """Return a note if dynamic thresholding, ours or the original's, has hardly anything to limit with CFG++.

    CFG++'s scale stands in the CFG scale's place. With the default measures the result is brought down to the range of the
    mimic scale. A range that is larger, as it mostly is at a larger scale, changes nothing; where it is smaller, the
    picture changes a little.

    :param rivals: the arguments of originals that are installed themselves
    """
    cfgpp = settings.techniques.get(CfgPlusPlus.name)
    own = settings.techniques.get(DynamicThresholding.name)
    asked = [] if own is None else [(DynamicThresholding.label, own.mimic_scale, own.startpoint, own.measure)]
    for entry, args in rivals:
        values = read_infotext(schema, entry.pairs(args)).values
        name = DynamicThresholding.name
        if values[f"{name}.enabled"]:
            asked.append((entry.title, *(values[f"{name}.{field}"] for field in ("mimic_scale", "startpoint", "measure"))))
    return [
        f"{title}: the mimic scale {mimic:g} is not below CFG++'s scale {cfgpp.scale:g}, which replaces the CFG scale: "
        "there is hardly anything for it to limit. Lower it, or turn off one of them"
        for title, mimic, startpoint, measure in asked
        if cfgpp is not None and mimic >= cfgpp.scale and (startpoint, measure) == (MEAN, AD)
    ]
