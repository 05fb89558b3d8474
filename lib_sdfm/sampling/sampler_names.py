"""Finding a sampler: by a name as any WebUI writes it, or by its function."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from ..errors import UnsupportedError
from .sampler_record import RENOISES_ITSELF, SamplerRecord
from .samplers import SAMPLERS
from .step_spans import Spans

AUTOMATIC = "Automatic"
SCHEDULES = {
    AUTOMATIC: (),
    "Uniform": (),
    "Karras": (),
    "Exponential": (),
    "Polyexponential": (),
    "SGM Uniform": ("SGMUniform",),
    "KL Optimal": (),
    "Align Your Steps": ("ays",),
    "Simple": (),
    "Normal": (),
    "DDIM": ("ddim_uniform",),
    "Beta": (),
    "Turbo": (),
    "Align Your Steps GITS": (),
    "Align Your Steps 11": (),
    "Align Your Steps 32": (),
}
"""Schedules by A1111's and Forge's labels, with the names that ComfyUI and older WebUIs have for them."""
LIKENESS = 0.6


@dataclass(frozen=True)
class ResolvedSampler:
    """What a name means.

    :param sampler: the sampler's row; ``None`` if SDFM knows none of that name
    :param schedule: label of the schedule that stands behind the sampler's name; ``None`` if there is none
    :param nearest: name of the known sampler that is most like an unknown one; ``None`` if none is like it
    """

    sampler: SamplerRecord | None
    schedule: str | None = None
    nearest: str | None = None


@lru_cache(maxsize=1024)
def resolve_sampler(name: str) -> ResolvedSampler:
    """Return the sampler and the schedule that a name means.

    Understood are A1111's, Forge's, reForge's and ComfyUI's names in any capitals, alone or with a schedule behind them:
    ``DPM++ 2M Karras``, ``euler_ancestral_cfg_pp_karras``.
    """
    text = normalised(name)
    if text in _BY_NAME:
        return ResolvedSampler(_BY_NAME[text])
    for ending, schedule in _BY_ENDING.items():
        base = text.removesuffix(f" {ending}")
        if base != text and base in _BY_NAME:
            return ResolvedSampler(_BY_NAME[base], schedule)
    nearest = nearest_name(name, [record.name for record in SAMPLERS])
    return ResolvedSampler(None, nearest=nearest)


def schedule_named(name: str) -> str | None:
    """Return the label of a schedule, by any WebUI's name of it; ``None`` if SDFM knows none of that name."""
    return _BY_ENDING.get(normalised(name))


def nearest_name(name: str, known: Collection[str]) -> str | None:
    """Return the name of a sampler among ``known`` that is most like ``name``, or begins it; ``None`` if none is."""
    text, by_text = normalised(name), {normalised(other): other for other in known}
    found = difflib.get_close_matches(text, by_text, n=1, cutoff=LIKENESS)
    found = found or sorted((other for other in by_text if text.startswith(f"{other} ")), key=len)[-1:]
    return by_text[found[0]] if found else None


def normalised(name: str) -> str:
    """Return a name in the form in which the spellings of WebUIs are equal: ``dpmpp_2m_cfg_pp`` is ``DPM++ 2M CFG++``."""
    text = name.lower().replace("_", " ").replace("dpmpp", "dpm++")
    return " ".join(re.sub(r"\bcfg ?pp\b", "cfg++", text).split())


def sampler_of(name: str, function: str) -> SamplerRecord | None:
    """Return the row of a host's sampler: by its function, as WebUIs share functions more than names, else by its name.

    :param name: the host's name of it
    :param function: name of its function
    """
    named = resolve_sampler(name).sampler
    found = [record for record in SAMPLERS if function in record.functions]
    return named if named in found or not found else found[0]


def require_spans(name: str, function: str) -> Spans:
    """Return where the steps of a sampler start and end, for its arguments: what the technique CFG++ must know.

    :raises UnsupportedError: if CFG++ can't be had with it
    """
    record = sampler_of(name, function)
    if record is None or function not in record.functions:
        raise UnsupportedError(f"CFG++: how far the steps of {name} go isn't known. {_others()}")
    if record.spans is not None:
        return record.spans
    others = "" if record.refused == RENOISES_ITSELF else f". {_others()}"
    raise UnsupportedError(f"CFG++: {name} {record.refused}{others}")


def _others() -> str:
    return "Choose another sampler: " + ", ".join(record.name for record in SAMPLERS if record.spans is not None)


_BY_NAME = {normalised(name): record for record in SAMPLERS for name in (record.name, *record.aliases)}
_BY_ENDING = dict(
    sorted(
        ((normalised(ending), label) for label, endings in SCHEDULES.items() for ending in (label, *endings)),
        key=lambda pair: -len(pair[0]),
    )
)
"""Schedules by the text behind a sampler's name, the longest first: ``SGM Uniform`` before ``Uniform``."""
