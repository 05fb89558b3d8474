"""Hosts with a flow model whose predictions are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from k_diffusion.external import CompVisVDenoiser
from torch import Tensor, nn

from bench.flow.analytic import AnalyticFlow
from lib_sdfm.hosts.a1111 import model_kind as a1111_kinds
from lib_sdfm.hosts.forge import model_kind as forge_kinds
from lib_sdfm.hosts.reforge import model_kind as reforge_kinds
from lib_sdfm.ops.flow import denoised_to_velocity
from lib_sdfm.schema.settings import Schema
from lib_sdfm.techniques import TECHNIQUES
from lib_sdfm.techniques.flow import Flow
from sdfm_webui.kind_memory import KindMemory
from sdfm_webui.model_kinds import KindHost
from tests.hosts import fake_reforge
from tests.hosts.fake_a1111 import Host
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.fake_reforge import ReforgeHost
from tests.hosts.jobs import new_forge, new_host, new_reforge

SCHEMA = Schema((*(technique for technique in TECHNIQUES if technique is not Flow), Flow))
FLOW = AnalyticFlow.drawn(1, 3, (0.15, 0.5))


class FlowUnet(nn.Module):
    """A UNet of a flow model: ``x_t`` and 1000 t to the velocity, whatever the prompt."""

    input_blocks = ()
    model_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self.middle_block = nn.Identity()
        self.config = {"in_channels": 4}

    def forward(self, x: Tensor, timesteps: Tensor, context: Any = None, **more: Any) -> Tensor:
        self.times.append(float(timesteps[0]))
        t = timesteps.double().clamp(min=0.1).view(-1, 1, 1, 1) / 1000
        denoised = FLOW.denoised(x.double(), t[..., None])
        return denoised_to_velocity(denoised, x.double(), t).to(x.dtype)


def flow_a1111(folder: Path) -> Host:
    """A1111 with the flow model."""
    return flow_host(new_host, folder)


def flow_forge(folder: Path) -> ForgeHost:
    """Forge with it."""
    return flow_host(new_forge, folder)


def flow_reforge(folder: Path) -> ReforgeHost:
    """reForge with it."""
    return flow_host(new_reforge, folder)


def flow_host(new: Callable[..., Any], folder: Path) -> Any:
    """A host with the flow model."""
    host = new(SCHEMA)
    host.diffusion_model = FlowUnet()
    return with_kinds(host, folder)


FLOW_HOSTS = {"a1111": flow_a1111, "forge": flow_forge, "reforge": flow_reforge}
"""The hosts with it, by name."""


def with_kinds(host: Host, folder: Path) -> Host:
    """The host, with SDFM's model kinds as ``scripts/sdfm.py`` sets them up."""
    memory, more = KindMemory(folder / "flow_models.json"), {"host_rescales": lambda model: host.rescales_table}
    if isinstance(host, ForgeHost):
        new, target = forge_kinds.forge_adapter, lambda model: model.forge_objects.unet.model
        more |= {"host_kind": forge_kinds.host_kind, "keep_table": forge_kinds.kept_table}
    elif isinstance(host, ReforgeHost):
        new, target = reforge_kinds.ReforgeAdapters(fake_reforge), lambda model: model
        more |= {"host_kind": reforge_kinds.host_kind, "keep_table": reforge_kinds.kept_table}
    else:
        new, target = a1111_kinds.A1111Adapters(CompVisVDenoiser), lambda model: model
        more["host_kind"] = a1111_kinds.host_kind
    host.sdfm.kinds = KindHost(new, lambda: host.sd_model, target, memory, **more)
    return host


def unet_of(host: Host) -> FlowUnet:
    """The host's UNet."""
    return host.diffusion_model


def error(samples: Tensor, start: Tensor) -> float:
    """How far samples are from the exact ones for the noise where they start."""
    return float((samples.double() - FLOW.exact(start.double())).square().mean().sqrt())


def named(name: str) -> SimpleNamespace:
    """A checkpoint by its name."""
    return SimpleNamespace(sha256=None, name=name)
