"""The samplers by name, and what infotexts say of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from modules import sd_schedulers, shared
from modules.sd_samplers_common import SamplerData
from modules.sd_samplers_kdiffusion import samplers_data_k_diffusion
from modules.sd_samplers_timesteps import samplers_data_timesteps

all_samplers: list[SamplerData] = [*samplers_data_k_diffusion, *samplers_data_timesteps]
all_samplers_map = {item.name: item for item in all_samplers}
samplers = all_samplers
samplers_map = {alias.lower(): item.name for item in all_samplers for alias in (item.name, *item.aliases)}

SAME_SAMPLER, SAME_SCHEDULER = "Use same sampler", "Use same scheduler"


def set_samplers() -> None:
    """Takes notice of samplers that extensions have added to ``all_samplers``."""
    samplers_map.clear()
    samplers_map.update({alias.lower(): item.name for item in all_samplers for alias in (item.name, *item.aliases)})


def find_sampler_config(name: str | None) -> SamplerData | None:
    return all_samplers[0] if name is None else all_samplers_map.get(name)


def create_sampler(name: str | None, model: Any) -> Any:
    data = find_sampler_config(name)
    if data is None:
        raise ValueError(f"There is no sampler named {name!r}")
    made = data.constructor(model)
    made.config = data
    return made


def visible_samplers() -> list[SamplerData]:
    return [item for item in samplers if item.name not in shared.opts.hide_samplers]


def visible_sampler_names() -> list[str]:
    return [item.name for item in visible_samplers()]


@functools.cache
def get_sampler_and_scheduler(
    sampler_name: str | None, scheduler_name: str | None, *, convert_automatic: bool = True
) -> tuple[str, str]:
    """Names as offered, from names as written: "DPM++ 2M Karras" is a sampler and a schedule; unknown ones are the first."""
    name = sampler_name or samplers[0].name
    found = sd_schedulers.schedulers_map.get(scheduler_name, sd_schedulers.schedulers[0])
    for scheduler in sd_schedulers.schedulers:
        for ending in (scheduler.label, scheduler.name, *scheduler.aliases):
            if name.endswith(f" {ending}"):
                found, name = scheduler, name[: -len(ending) - 1]
                break
    sampler = all_samplers_map.get(name, samplers[0])
    if convert_automatic and sampler.options.get("scheduler") == found.name:
        found = sd_schedulers.schedulers[0]
    return sampler.name, found.label


def get_sampler_from_infotext(params: Mapping[str, Any]) -> str:
    return get_sampler_and_scheduler(params.get("Sampler"), params.get("Schedule type"))[0]


def get_scheduler_from_infotext(params: Mapping[str, Any]) -> str:
    return get_sampler_and_scheduler(params.get("Sampler"), params.get("Schedule type"))[1]


def _of_hires(params: Mapping[str, Any]) -> tuple[str, str]:
    sampler, scheduler = params.get("Hires sampler", SAME_SAMPLER), params.get("Hires schedule type", SAME_SCHEDULER)
    base_sampler, base_scheduler = params.get("Sampler"), params.get("Schedule type")
    sampler, scheduler = get_sampler_and_scheduler(
        base_sampler if sampler == SAME_SAMPLER else sampler, base_scheduler if scheduler == SAME_SCHEDULER else scheduler
    )
    return (
        SAME_SAMPLER if sampler == base_sampler else sampler,
        SAME_SCHEDULER if scheduler == base_scheduler else scheduler,
    )


def get_hr_sampler_from_infotext(params: Mapping[str, Any]) -> str:
    return _of_hires(params)[0]


def get_hr_scheduler_from_infotext(params: Mapping[str, Any]) -> str:
    return _of_hires(params)[1]


def fix_p_invalid_sampler_and_scheduler(p: Any) -> None:
    """Known names in place of those that were asked for."""
    p.sampler_name, p.scheduler = get_sampler_and_scheduler(p.sampler_name, p.scheduler, convert_automatic=False)
