"""Settings that are allowed and far beyond what is usual: with them the picture is ruined."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..sampling.sampler_names import resolve_sampler
from ..schema.settings import Settings

LARGEST_LAMBDA = 2.0
"""CFG scale above which the named CFG++ samplers give ruined pictures; 0.5 to 2 is usual."""
LARGEST_STRENGTH = 1.0
"""Scale of a perturbed prediction above which it is far too strong with CFG++, where 0.25 acts as 3 does with CFG."""
ADDING = {"pag": "PAG", "seg": "SEG", "tpg": "TPG"}


class Advice(NamedTuple):
    """One piece of advice.

    :param mark: a few words for the panel's title
    :param text: the whole sentence
    """

    mark: str
    text: str


def advice_on(settings: Settings, sampler: str, cfg_scale: Any) -> list[Advice]:
    """Return advice for a job's settings.

    :param sampler: name of the job's sampler
    :param cfg_scale: the job's CFG scale, if known
    """
    return [*_on_lambda(settings, sampler, cfg_scale), *_on_strength(settings, sampler)]


def _takes_lambda(sampler: str) -> bool:
    record = resolve_sampler(sampler).sampler
    return record is not None and record.cfg_unit != 1 and not record.in_timesteps


def _on_lambda(settings: Settings, sampler: str, cfg_scale: Any) -> list[Advice]:
    if not _takes_lambda(sampler) or not isinstance(cfg_scale, int | float) or cfg_scale <= LARGEST_LAMBDA:
        return []
    record = resolve_sampler(sampler).sampler
    plain = f"{cfg_scale:g} with a plain sampler is about {cfg_scale * record.cfg_unit:.2g} here"
    text = (
        f"{record.name} uses the CFG scale as CFG++'s lambda, and {cfg_scale:g} ruins the picture; 0.5 to 2 is usual ({plain})"
    )
    return [Advice(f"CFG {cfg_scale:g} is too high", text)]


def _on_strength(settings: Settings, sampler: str) -> list[Advice]:
    by_technique = "cfgpp" in settings.techniques
    if not by_technique and not _takes_lambda(sampler):
        return []
    found = []
    for name, label in ADDING.items():
        own = settings.techniques.get(name)
        scale = 0 if own is None else max(own.scale, own.hires_scale or 0)
        if scale > LARGEST_STRENGTH:
            whose = "CFG++" if by_technique else sampler
            text = f"{label} {scale:g} is too strong with {whose}, where 0.25 acts about as strongly as 3 with CFG"
            found.append(Advice(f"{label} {scale:g} is too strong", text))
    return found
