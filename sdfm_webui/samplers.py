"""Registration of CFG++ samplers and of the other WebUIs' sampler names; entries of the host are never replaced."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import Tensor

from lib_sdfm.hosts.named_samplers import DDIM_CFGPP, NAMED_SAMPLERS, NamedSampler, WithUncond, hosted, hosted_ddim
from lib_sdfm.hosts.uncond import DenoiserWithUncond
from lib_sdfm.ops.descent import Sampler
from lib_sdfm.sampling.sampler_names import normalised
from lib_sdfm.sampling.samplers import SAMPLERS
from lib_sdfm.schema.foreign.sampler import host_sampler, unknown_sampler

from .errors import shown_to_user

FIRST = "sampler_name"
JOB_SAMPLERS = {FIRST: "scheduler", "hr_sampler_name": "hr_scheduler"}
"""Attributes of a job for a pass' sampler, with those for its schedule."""


@dataclass(frozen=True)
class SamplerModules:
    """The host's sampler modules.

    :param samplers: ``modules.sd_samplers``
    :param common: ``modules.sd_samplers_common``
    :param kdiffusion: ``modules.sd_samplers_kdiffusion``
    :param timesteps: ``modules.sd_samplers_timesteps``
    :param k_sampling: ``k_diffusion.sampling``
    :param with_uncond: gives the host's CFG denoiser its unconditional prediction
    """

    samplers: Any
    common: Any
    kdiffusion: Any
    timesteps: Any
    k_sampling: Any
    with_uncond: WithUncond = DenoiserWithUncond


def register_samplers(host: SamplerModules, forge: bool) -> None:
    """Add the samplers that the host lacks, and other WebUIs' names to those it looks up for paste, API and X/Y/Z plot.

    May be called again ("Reload UI"), also after others have rebuilt the host's table of names.

    :param forge: true if the host is Forge, whose own DDIM CFG++ takes the CFG scale as lambda and fails at 1, or reForge,
        which has none
    """
    known = {normalised(entry.name) for entry in host.samplers.all_samplers}
    host.samplers.all_samplers += [_entry(host, named) for named in NAMED_SAMPLERS if not _has(known, named)]
    if forge and normalised(DDIM_CFGPP) not in known:
        host.samplers.all_samplers.append(_ddim_entry(host))
    table = host.samplers.all_samplers_map  # read anew each time: Forge makes it anew for each sampler
    for entry in host.samplers.all_samplers:
        table.setdefault(entry.name, entry)
    host.samplers.set_samplers()
    for record in SAMPLERS:
        names = (record.name, *record.aliases)
        present = next((table[name] for name in names if name in table), None)
        for name in names if present is not None else ():
            table.setdefault(name, present)
            host.samplers.samplers_map.setdefault(name.lower(), present.name)
    for lower, name in host.samplers.samplers_map.items():  # the X/Y/Z plot accepts these, and looks them up there
        if name in table:
            table.setdefault(lower, table[name])
    host.samplers.get_sampler_and_scheduler.cache_clear()


def _has(known: Collection[str], named: NamedSampler) -> bool:
    """Return True if a host has a sampler under one of its names (Forge Neo: Euler a CFG++).

    :param known: the host's names, normalised
    """
    return any(normalised(name) in known for name in (named.name, *named.aliases))


def names_of(table: Mapping[str, Any]) -> dict[str, str]:
    """Return the name in the host's list by each name that it looks up.

    :param table: the host's entries, by those names
    """
    return {name: entry.name for name, entry in table.items()}


def mend_samplers(p: Any, known: Collection[str]) -> None:
    """Replace names of samplers in a job by the host's, with the schedules behind them; name what stays unknown.

    The host replaces an unknown name of the first pass by its default; that of the hires pass it refuses.

    :param known: the names that the host looks up
    """
    for attribute, schedule_attribute in JOB_SAMPLERS.items():
        said = getattr(p, attribute, None)
        if not isinstance(said, str) or not said or said in known:
            continue
        found = host_sampler(said, known)
        if found is not None:
            setattr(p, attribute, found[0])
            if found[1] is not None:
                setattr(p, schedule_attribute, found[1])
        elif attribute == FIRST:
            p.comment(f"SDFM: {unknown_sampler(attribute, said, known)}")


def _entry(host: SamplerModules, named: NamedSampler) -> Any:
    func = _with_readable_errors(hosted(named, host.k_sampling, host.with_uncond))

    def new_sampler(model: Any) -> Any:
        sampler = host.kdiffusion.KDiffusionSampler(func, model)
        sampler.extra_params = ["s_noise"] if "s_noise" in signature(func).parameters else []  # the host goes by names
        return sampler

    return host.common.SamplerData(named.name, new_sampler, list(named.aliases), dict(named.options))


def _ddim_entry(host: SamplerModules) -> Any:
    func = _with_readable_errors(hosted_ddim(host.k_sampling, host.with_uncond))
    return host.common.SamplerData(DDIM_CFGPP, lambda model: host.timesteps.CompVisSampler(func, model), [], {})


def _with_readable_errors(func: Sampler) -> Callable[..., Tensor]:
    return shown_to_user()(func)
