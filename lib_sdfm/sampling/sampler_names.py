"""Sampler lookup by its name in any WebUI, or by its function."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from ..errors import UnsupportedError
from .host_flow import HostFlow
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
"""Schedules by A1111's and Forge's labels, with their names in ComfyUI and older WebUIs."""
LIKENESS = 0.6


@dataclass(frozen=True)
class ResolvedSampler:
    """Result of a name lookup.

    :param sampler: the sampler's row; ``None`` if SDFM knows none of that name
    :param schedule: label of the schedule that follows the sampler's name; ``None`` if there is none
    :param nearest: name of the known sampler most similar to an unknown one; ``None`` if none is similar
    """

    sampler: SamplerRecord | None
    schedule: str | None = None
    nearest: str | None = None


@lru_cache(maxsize=1024)
def resolve_sampler(name: str) -> ResolvedSampler:
    """Return sampler and schedule of a name.

    A1111's, Forge's, reForge's and ComfyUI's names are supported, case-insensitively, with or without a schedule after
    them: ``DPM++ 2M Karras``, ``euler_ancestral_cfg_pp_karras``.
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
    """Return the label of a schedule by its name in any WebUI; ``None`` if SDFM knows none of that name."""
    return _BY_ENDING.get(normalised(name))


def nearest_name(name: str, known: Collection[str]) -> str | None:
    """Return the sampler name among ``known`` that is most similar to ``name``, or is its prefix; ``None`` if there is none."""
    text, by_text = normalised(name), {normalised(other): other for other in known}
    found = difflib.get_close_matches(text, by_text, n=1, cutoff=LIKENESS)
    found = found or sorted((other for other in by_text if text.startswith(f"{other} ")), key=len)[-1:]
    return by_text[found[0]] if found else None


def normalised(name: str) -> str:
    """Normalise a name, so that the WebUIs' spellings are equal: ``dpmpp_2m_cfg_pp`` is ``DPM++ 2M CFG++``."""
    text = name.lower().replace("_", " ").replace("dpmpp", "dpm++")
    return " ".join(re.sub(r"\bcfg ?pp\b", "cfg++", text).split())


def sampler_of(name: str, function: str) -> SamplerRecord | None:
    """Return the row of a host's sampler, by its function (WebUIs share functions more than names), else by its name.

    :param name: its name in the host
    :param function: name of its function
    """
    named = resolve_sampler(name).sampler
    found = [record for record in SAMPLERS if function in record.functions]
    return named if named in found or not found else found[0]


def require_spans(name: str, function: str, flow: HostFlow | None = None) -> Spans:
    """Return a function from a sampler's arguments to the start and end of its steps, as needed by the technique CFG++.

    :param flow: how the host samples the model, if it is a flow model of its own: then they are the model's times
    :raises UnsupportedError: if CFG++ is not supported with it
    """
    record = sampler_of(name, function)
    if record is None or function not in record.functions:
        raise UnsupportedError(f"CFG++: the step lengths of {name} are unknown. {_others(flow)}")
    spans = _spans(record, flow)
    if spans is not None:
        return spans
    if record.spans is not None:
        raise UnsupportedError(f"CFG++: the steps of {name} with this WebUI's flow models are unknown. {_others(flow)}")
    others = "" if record.refused == RENOISES_ITSELF else f". {_others(flow)}"
    raise UnsupportedError(f"CFG++: {name} {record.refused}{others}")


def _spans(record: SamplerRecord, flow: HostFlow | None) -> Spans | None:
    if flow is None:
        return record.spans
    return record.own_flow if flow.adds_noise_right or record.own_flow is record.spans else None


def _others(flow: HostFlow | None) -> str:
    return "Choose another sampler: " + ", ".join(record.name for record in SAMPLERS if _spans(record, flow) is not None)


_BY_NAME = {normalised(name): record for record in SAMPLERS for name in (record.name, *record.aliases)}
_BY_ENDING = dict(
    sorted(
        ((normalised(ending), label) for label, endings in SCHEDULES.items() for ending in (label, *endings)),
        key=lambda pair: -len(pair[0]),
    )
)
"""Schedules by the suffix of a sampler's name, the longest first: ``SGM Uniform`` before ``Uniform``."""
