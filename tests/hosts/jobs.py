"""Jobs on the fake host with SDFM in it."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.hosts.run import run_of
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.settings import Schema
from sdfm_webui.job import HostObjects, begin_batch, begin_job, forget_earlier
from sdfm_webui.model_kinds import KindHost
from tests.hosts.fake_a1111 import Host, Processing, SdModel
from tests.hosts.fake_forge import Engine, ForgeHost
from tests.hosts.fake_reforge import ReforgeHost
from tests.hosts.variety import Variety
from tests.support import fingerprint, tiny_sdxl_unet, tiny_unet


class SdfmScript:
    """The work of ``scripts/sdfm.py``, without the host's classes."""

    def __init__(self, host: Host, schema: Schema = SCHEMA) -> None:
        self.host, self.schema = host, schema
        self.kinds: KindHost | None = None
        host.on_cfg_denoiser.append(self.on_cfg_denoiser)

    def before_process(self, p: Processing, *args: Any) -> None:
        forget_earlier(self.schema, p)

    @property
    def objects(self) -> HostObjects:
        """Return the parts of the host that a job needs."""
        return HostObjects(
            new_pass=self.host.new_pass,
            model=lambda: ModelFacts(sdxl=self.host.sd_model.is_sdxl),
            old_payloads=lambda p: [],
            rivals=lambda p: [],
            kinds=self.kinds,
            end_others=self.end_others,
        )

    def end_others(self, p: Processing) -> None:
        """End a batch and its job, as :func:`sdfm_webui.job.end_without_pictures` does."""
        self.host.end_batch(p)
        self.host.end_job(p)

    def process(self, p: Processing, *args: Any) -> None:
        begin_job(self.schema, p, args, self.objects)

    def process_batch(self, p: Processing, *args: Any) -> None:
        begin_batch(self.schema, p, args, self.objects)

    def process_before_every_sampling(self, p: Processing, *args: Any) -> None:
        run = run_of(p)
        if run is not None:
            run.before_pass()

    def on_cfg_denoiser(self, params: Any) -> None:
        run = run_of(params.denoiser.p)
        if run is not None:
            run.before_call(params)


def unet_for(variety: Variety, seed: int = 0, **changes: Any) -> nn.Module:
    """A tiny UNet of the kind that a host has."""
    return (tiny_sdxl_unet if variety.sdxl else tiny_unet)(seed, **changes)


def new_host(schema: Schema = SCHEMA, seed: int = 0, variety: Variety = Variety()) -> Host:
    """A host with a tiny model, and SDFM installed as ``host.sdfm``."""
    host = Host(unet_for(variety, seed), variety)
    host.sdfm = SdfmScript(host, schema)
    return host


def new_forge(schema: Schema = SCHEMA, seed: int = 0, variety: Variety = Variety()) -> ForgeHost:
    """The same model in the other host."""
    host = ForgeHost(unet_for(variety, seed), variety)
    host.sdfm = SdfmScript(host, schema)
    return host


def new_reforge(schema: Schema = SCHEMA, seed: int = 0, variety: Variety = Variety()) -> ReforgeHost:
    """The same model in reForge."""
    host = ReforgeHost(unet_for(variety, seed), variety)
    host.sdfm = SdfmScript(host, schema)
    return host


HOSTS = {"A1111": new_host, "Forge": new_forge, "reForge": new_reforge}
"""The stand-ins by name: what holds for one holds for the others."""


def job(host: Host, request: dict | None = None, **settings: Any) -> Processing:
    """A job with a dictionary of settings, as the API gives it; without one everything is off."""
    args = [] if request is None else [request]
    return host.processing(host, scripts=[host.sdfm], script_args=args, **settings)


def samples(host: Host, request: dict | None = None, **settings: Any) -> Tensor:
    """Return the latents that a job samples; extensions' errors count here."""
    host.swallowed.clear()
    result = host.run(job(host, request, **settings))
    assert not host.swallowed, host.swallowed
    return result


def another_checkpoint(host: Host, seed: int = 7, **changes: Any) -> SdModel | Engine:
    """A checkpoint to switch to; ``changes`` make it one of another architecture."""
    return host.new_checkpoint(unet_for(host.variety, seed, **changes))


def attached(model: SdModel | Engine) -> dict[str, object]:
    """Return what is attached to a checkpoint: see :func:`fingerprint`; on Forge and reForge also its patches."""
    found = fingerprint(model)
    if hasattr(model, "forge_objects"):
        patcher = model.forge_objects.unet
        found["forge_objects"] = id(patcher), copy.deepcopy(patcher.model_options)
    return found
