"""The probe: models of three kinds are told apart, also where their weights are disturbed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.flow.analytic import AnalyticFlow
from lib_sdfm.ops.flow_probe import EPS, FLOW, MOST_CALLS, Recognition, V, noise_table, recognise
from tests.support import CONTEXT, noise_of, predict, tiny_unet
from tools.tiny_model import MODELS, load

ANALYTIC = AnalyticFlow.drawn(1, 3, (0.15, 0.5))
ALPHA_BARS = noise_table()
SIZE = (4, 12, 12)
DISTURBANCE = 0.02
"""Of each weight, as a share of its tensor's deviation."""


def exact_flow(x: Tensor, times: Tensor) -> Tensor:
    t = (times.double() / 1000).view(-1, 1, 1, 1)
    return (x.double() - ANALYTIC.denoised(x.double(), t[..., None])) / t


def test_an_exact_flow_model_is_recognised():
    found = recognise(exact_flow, SIZE)
    assert found.kind == FLOW and found.certain


def shapes(name: str, seed: int | None) -> Callable[[Tensor, Tensor], Tensor]:
    """A small trained model; with a seed a copy with disturbed weights."""
    if not (MODELS / f"{name}.safetensors").exists():
        pytest.skip(f"{name} is not trained")
    model = copy.deepcopy(load(MODELS / f"{name}.safetensors").eval())
    cond = model.conditioning([""])
    generator = torch.Generator().manual_seed(seed or 0)
    with torch.no_grad():
        for weight in model.unet.parameters() if seed is not None else ():
            if weight.numel() > 1:
                weight += DISTURBANCE * weight.std() * torch.randn(weight.shape, generator=generator)
    return lambda x, times: model.unet(x, times, context=cond.expand(len(x), -1, -1))


def as_v(eps: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The same model, predicting v."""

    def predict(x: Tensor, times: Tensor) -> Tensor:
        alpha_bar = ALPHA_BARS[times.round().long()].view(-1, 1, 1, 1).float()
        noise = eps(x, times)
        denoised = (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
        return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * denoised

    return predict


@pytest.mark.parametrize("seed", [None, *range(3)])
@pytest.mark.parametrize("name, kind", [("shapes-eps", EPS), ("shapes-ink", EPS), ("shapes-flow", FLOW), ("shapes-v", V)])
def test_trained_models_and_disturbed_copies_are_recognised(name: str, kind: str, seed: int | None):
    found = recognise(shapes(name, seed), SIZE)
    assert found.kind == kind and found.certain and found.sure


@pytest.mark.parametrize("name", ["shapes-eps", "shapes-ink"])
def test_v_prediction_is_no_flow(name: str):
    found = recognise(as_v(shapes(name, None)), SIZE)
    assert found.kind == V and found.certain and found.sure


@pytest.mark.parametrize(("name", "most"), [("shapes-eps", 15), ("shapes-flow", 23)])
def test_clear_cases_take_few_calls(name: str, most: int):
    calls: list[int] = []
    assert recognise(shapes(name, None), SIZE, watch=lambda call, of: calls.append(call)).sure
    assert calls == list(range(len(calls))) and len(calls) <= most < MOST_CALLS


@pytest.mark.parametrize("seed", range(2))
def test_a_model_that_was_never_trained_is_nothing_for_certain(seed: int):
    unet, context = tiny_unet(seed), noise_of(1, 1, 3, CONTEXT)
    found = recognise(lambda x, times: predict(unet, x, times, context.expand(len(x), -1, -1)), SIZE)
    assert not found.sure and not found.certain


def test_what_the_watch_raises_ends_it():
    def watch(call: int, most: int) -> None:
        if call == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recognise(lambda x, times: x, SIZE, watch=watch)


@pytest.mark.parametrize("flow, eps", [(0.5, 0.51), (0.51, 0.5), (2.0, 3.0), (float("inf"), float("inf"))])
def test_what_lies_between_is_not_certain(flow: float, eps: float):
    assert not Recognition({"eps": eps, "v": eps, "flow": flow}).certain
