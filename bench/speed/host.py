"""A stand-in for A1111 with a UNet of SDXL's shape on the device that is measured, and SDFM in it.

As A1111 runs it: weights in half, everything inside autocast, scaled dot product attention, the time embedding made on the
device, conds as dictionaries. The weights are random: this says nothing about pictures.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from ldm.modules import attention
from ldm.modules.diffusionmodules import openaimodel
from torch import Tensor, nn

from bench.speed.libraries import CompVisVDenoiser  # makes importable what follows
from bench.speed.timing import Call
from bench.speed.unets import Shape, make_unet
from lib_sdfm.catalog import SCHEMA
from lib_sdfm.hosts.a1111.model_kind import A1111Adapters
from sdfm_webui.kind_memory import KindMemory
from sdfm_webui.model_kinds import KindHost
from tests.hosts.fake_a1111 import CFGDenoiser, Host, Processing, Prompts, Sampler
from tests.hosts.jobs import SdfmScript
from tests.hosts.variety import ConditionDict, Variety
from tests.support import noise_of

Watch = Callable[[int, Call], Tensor]
"""From the index of a denoiser call and the call to its result."""
PIXELS = 8
"""Of a picture along a side, for each of the latent."""
TEXT_SEED, WEIGHTS_SEED = 100, 0


class OneForAll(list):
    """The context of all transformer blocks: this class of UNet asks a list for each block's, A1111's has one tensor."""

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(0)


@dataclass(frozen=True)
class SdxlVariety(Variety):
    """SDXL of any size.

    :param shape: of the UNet
    """

    sdxl: bool = True
    shape: Shape = field(kw_only=True)

    def text(self, seed: int) -> Tensor:
        """Return the conditioning of a prompt, ``(tokens, channels)``."""
        return self.placed(noise_of(TEXT_SEED + seed, self.shape.tokens, self.shape.context))

    def conds(self, text: Tensor) -> ConditionDict:
        return ConditionDict(crossattn=text, vector=text.flatten(1)[:, : self.shape.extra])

    def call(self, unet: nn.Module, x: Tensor, timesteps: Tensor, **conds: Any) -> Tensor:
        def run(x: Tensor, timesteps: Tensor, text: Tensor, y: Tensor) -> Tensor:
            return unet(x, timesteps, context=OneForAll([text]), y=y)

        return super().call(run, x, timesteps, text=conds["context"][0], y=conds["y"])


class WatchedDenoiser(CFGDenoiser):
    """The host's denoiser, each call of which goes through what watches the host."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.host.watch(self.step, functools.partial(super().forward, *args, **kwargs))


class Job(Processing):
    """A job whose conds are of the UNet's size and on its device before sampling begins, as A1111's are."""

    def setup_conds(self) -> None:
        self.conds = Prompts([[(self.host.variety.text(seed), 1.0)] for seed in self.seeds])
        super().setup_conds()

    def negatives(self) -> Tensor:
        return torch.stack([self.host.variety.text(0)] * self.batch_size)


class BenchHost(Host):
    """A1111 with SDFM, whose denoiser calls can be watched."""

    processing = Job

    def __init__(self, unet: nn.Module, variety: SdxlVariety, folder: Path) -> None:
        super().__init__(unet, variety)
        self.watch: Watch = lambda step, call: call()
        self.running_on: Any = None
        self.sdfm = SdfmScript(self, SCHEMA)
        memory = KindMemory(folder / "flow_models.json")
        self.sdfm.kinds = KindHost(A1111Adapters(CompVisVDenoiser), lambda: self.sd_model, lambda model: model, memory)

    def new_denoiser(self, sampler: Sampler) -> nn.Module:
        return WatchedDenoiser(sampler)

    @torch.no_grad()
    def run(self, p: Processing) -> Tensor:
        with self.variety.running() as self.running_on:
            return self.variety.taken(self._run(p))

    def samples(self, request: dict | None, size: int, images: int, steps: int, watch: Watch | None = None) -> Tensor:
        """Return what a job samples, ``(images, 4, H, W)`` on the CPU.

        :param request: SDFM's settings, ``None``: without SDFM
        :param size: of the pictures, in pixels along a side
        :raises Exception: what an extension raised, though the host would swallow it
        """
        args = [] if request is None else [request]
        job = Job(self, [self.sdfm], args, steps=steps, width=size, height=size, batch_size=images)
        plain, self.watch = self.watch, watch or self.watch
        try:
            result = self.run(job)
        finally:
            self.watch = plain
            self.samplers.clear()
            swallowed, self.swallowed = self.swallowed, []
        for problem in swallowed:
            raise problem
        return result


def build_unet(shape: Shape, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return a UNet with random weights made on the device in this type.

    What training starts from zero is random as well, else the UNet would give zeros.
    """
    unet = make_unet(shape, "meta").to(dtype).to_empty(device=device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(WEIGHTS_SEED)
        for module in unet.modules():
            if list(module.parameters(recurse=False)):
                module.reset_parameters()
    return unet


@contextmanager
def bench_host(shape: Shape, device: torch.device, dtype: torch.dtype) -> Iterator[BenchHost]:
    """Return a context with a host whose UNet has this shape; outside of it nothing of the libraries is changed.

    :param device: a CUDA device, the CPU, or the stand-in for an accelerator
    :param dtype: of the weights; half ones run inside autocast
    """
    is_cuda = device.type == "cuda"
    unet = build_unet(shape, device if is_cuda else torch.device("cpu"), dtype if is_cuda else torch.float32)
    variety = SdxlVariety(dtype=dtype, autocast=dtype != torch.float32, device=device, shape=shape)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(patch.object(attention.CrossAttention, "forward", sdp_forward))
        stack.enter_context(patch.object(openaimodel, "timestep_embedding", timestep_embedding))
        yield BenchHost(unet, variety, Path(folder))


def sdp_forward(self: nn.Module, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Attention as A1111's optimisation "sdp" computes it; stands in for ``CrossAttention.forward``."""
    context = x if context is None else context
    q, k, v = (
        layer(value).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        for layer, value in ((self.to_q, x), (self.to_k, context), (self.to_v, context))
    )
    mixed = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype))
    return self.to_out(mixed.transpose(1, 2).flatten(2))


sdp_forward.__module__ = "modules.sd_hijack_optimizations"  # as the WebUI's own: others' would make predictions whole


def timestep_embedding(timesteps: Tensor, dim: int, max_period: int = 10000, repeat_only: bool = False) -> Tensor:
    """Return cosines and sines of timesteps ``(rows,)``: ``(rows, dim)``, made where the timesteps are, as A1111 does."""
    half = dim // 2
    place = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
    angles = timesteps[:, None].float() * max_period**-place
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
