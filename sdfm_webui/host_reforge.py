"""Parts of SDFM for reForge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib_sdfm.hosts.cross_attention import TextHost
from lib_sdfm.hosts.reforge.model_kind import ReforgeAdapters, host_kind, kept_table
from lib_sdfm.hosts.reforge.run_pass import ReforgePass
from lib_sdfm.hosts.reforge.uncond import ReforgeWithUncond
from lib_sdfm.sampling.plan import Plan

from .host_forge import ForgeSampling
from .host_parts import HostModules, HostParts


def reforge_parts(
    host: HostModules, sampling: ForgeSampling, model_sampling: Any, own_schedules: Callable[[Any], bool]
) -> HostParts:
    """Return the parts for reForge.

    :param model_sampling: ``ldm_patched.modules.model_sampling``
    :param own_schedules: returns True for an entry of the samplers that is made as ComfyUI makes it
    """
    text = TextHost(host.encode, attend=sampling.attend)

    def new_pass(plan: Plan, p: Any) -> ReforgePass:
        return ReforgePass(plan, p, sampling.predict, text, host.option, ways=host.ways)

    def rescales(model: Any) -> bool:
        return bool(getattr(model, "ztsnr", False)) or host.rescales()

    return HostParts(
        new_pass=new_pass,
        new_adapter=ReforgeAdapters(model_sampling),
        host_kind=host_kind,
        host_rescales=rescales,
        probe=sampling.probe(host),
        keep_table=kept_table,
        own_schedules=own_schedules,
        with_uncond=ReforgeWithUncond,
    )
