"""Models of both hosts asked what they predict, with and without the edge on them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.flow.analytic import AnalyticFlow
from lib_sdfm.hosts.a1111.model_kind import ask_a1111
from lib_sdfm.hosts.forge.model_kind import ask_forge, forge_adapter
from lib_sdfm.hosts.model_kind import kind_of, set_kind
from lib_sdfm.ops.flow import denoised_to_velocity, exploding_to_flow, sigma_to_time
from lib_sdfm.ops.flow_probe import EPS, FLOW, IMAGES, Recognition, noise_table
from lib_sdfm.sampling.model_kind import ModelKind
from sdfm_webui.model_kinds import KindHost
from tests.hosts.flow_hosts import flow_a1111

MODEL = AnalyticFlow.drawn(1, 3, (0.15, 0.5))
PROMPT = torch.ones(1, 2, 8)
AS_FLOW = ModelKind("Flow matching", shift=3.0)


class Unet(nn.Module):
    """Predicts what the analytic model says, as one of the kinds."""

    input_blocks = ()

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.weight, self.kind, self.given = nn.Parameter(torch.zeros(1)), kind, []

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **more: Any) -> Tensor:
        self.given.append({"context": context, **more})
        if self.kind == FLOW:
            t = timesteps.double().view(-1, 1, 1, 1) / 1000
            return denoised_to_velocity(MODEL.denoised(x.double(), t[..., None]), x.double(), t).to(x.dtype)
        alpha_bar = noise_table()[timesteps.long()].view(-1, 1, 1, 1)
        sigma = ((1 - alpha_bar) / alpha_bar) ** 0.5
        y, t = x.double() * (1 + sigma**2) ** 0.5, sigma_to_time(sigma)
        return ((y - MODEL.denoised(exploding_to_flow(y, t), t[..., None])) / sigma).to(x.dtype)


def forge_model(kind: str, cond: Any) -> SimpleNamespace:
    predictor = nn.Module()
    predictor.register_buffer("sigmas", ((1 - noise_table()) / noise_table()) ** 0.5)
    model = nn.Module()
    model.diffusion_model, model.predictor, model.computation_dtype = Unet(kind), predictor, torch.float32
    patcher = SimpleNamespace(model=model, load_device="cpu")
    return SimpleNamespace(get_learned_conditioning=lambda prompts: cond, forge_objects=SimpleNamespace(unet=patcher))


def assert_recognised(found: Recognition, kind: str) -> None:
    """Only as far as flow is concerned: elements that know nothing of each other leave all kinds alike for eps."""
    assert (found.kind == FLOW and found.certain) == (kind == FLOW)


@pytest.mark.parametrize("kind", [EPS, FLOW])
@pytest.mark.parametrize("with_edge", [False, True])
@pytest.mark.parametrize("cond", [PROMPT, {"crossattn": PROMPT, "vector": torch.ones(1, 5)}], ids=["SD1.5", "SDXL"])
def test_forge(kind: str, with_edge: bool, cond: Any):
    model, order = forge_model(kind, cond), []
    target = model.forge_objects.unet.model
    set_kind(target, "one", AS_FLOW if with_edge else None, forge_adapter)
    found = ask_forge(model, lambda patcher, x: order.append("prepared"), lambda patcher: order.append("cleaned"))
    assert_recognised(found, kind)
    assert order == ["prepared", "cleaned"] and (kind_of(target) is not None) == with_edge
    given = target.diffusion_model.given[0]
    assert len(given["context"]) == IMAGES and ("y" in given) == isinstance(cond, dict)


def test_forge_cleans_up_after_an_error():
    model, order = forge_model(FLOW, PROMPT), []
    model.forge_objects.unet.model.diffusion_model.forward = lambda *args, **kwargs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        ask_forge(model, lambda patcher, x: None, order.append)
    assert order == [model.forge_objects.unet]


@pytest.mark.parametrize("kind", [EPS, FLOW])
@pytest.mark.parametrize("with_edge", [False, True])
def test_a1111(tmp_path, kind: str, with_edge: bool):
    host = flow_a1111(tmp_path)
    model: Any = host.sd_model
    model.model.diffusion_model = Unet(kind)
    model.get_learned_conditioning = lambda prompts: PROMPT
    kinds: KindHost = host.sdfm.kinds
    set_kind(kinds.target(model), "one", AS_FLOW if with_edge else None, kinds.new_adapter)
    found = ask_a1111(model)
    assert_recognised(found, kind)
    assert (kind_of(model) is not None) == with_edge
