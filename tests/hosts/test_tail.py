"""The shared prefix gives what a whole pass gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.hosts.a1111.attention import PerturbedAttention
from lib_sdfm.hosts.a1111.recorded_calls import CallRecorder
from lib_sdfm.hosts.a1111.tail import a1111_tail
from lib_sdfm.hosts.unet_layers import UnetLayers
from lib_sdfm.ops.blur import mean_tokens
from lib_sdfm.sampling.layers import parse_layers
from lib_sdfm.sampling.stages import Perturbation
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import new_forge, new_host, samples
from tests.support import CONTEXT, DEPTH, noise_of, tiny_unet


class Model(nn.Module):
    """What stands around the UNet in the host."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        return x - self.unet(x * 0.5, timesteps, context=[text] * DEPTH)


def identity(layers: str) -> Perturbation:
    return Perturbation(parse_layers(layers), identity=True)


def blur(layers: str) -> Perturbation:
    return Perturbation(parse_layers(layers), query=lambda queries, grid: mean_tokens(queries))


CHANGES = {
    "pag": {"pag": identity("middle")},
    "seg": {"seg": blur("middle")},
    "both": {"pag": identity("middle"), "seg": blur("middle")},
    "output": {"pag": identity("output.2")},
    "several": {"pag": identity("output.1"), "seg": blur("output.0.1,output.3"), "more": identity("middle.1")},
}


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def answers(portions: list[int], changes: dict, edits_skips: bool = False, size: int = 8) -> tuple[dict, dict, list[int]]:
    """What whole passes and the shared one give for the first two of four rows, and the rows that the UNet's blocks saw."""
    unet = tiny_unet()
    model, recorder = Model(unet), CallRecorder()
    recorder.follow(model)
    x, time, text = noise_of(1, 4, 4, size, size), torch.tensor([400.0] * 4), noise_of(2, 4, 3, CONTEXT)
    shared = a1111_tail(UnetLayers(unet), changes, edits_skips, cond_rows=2, main=[])
    shared.attach()
    for rows in torch.arange(4).split(portions):
        model(x[rows], time[rows], text=text[rows])
    shared.detach()
    seen: list[int] = []
    handle = unet.input_blocks[0].register_forward_hook(lambda module, args, output: seen.append(len(output)))
    assert shared.possible(recorder.rows_of_calls())
    got = shared.predictions(lambda: recorder.replay(2))
    handle.remove()
    whole = {}
    for name, change in changes.items():
        with PerturbedAttention(UnetLayers(unet), change):
            whole[name] = recorder.replay(2)
    return got, whole, seen


@pytest.mark.parametrize("portions", [[4], [2, 2], [1, 1, 1, 1], [3, 1]], ids=str)
@pytest.mark.parametrize("name", CHANGES)
def test_it_gives_what_a_whole_pass_gives_without_the_encoder(name: str, portions: list[int]):
    got, whole, encoder_rows = answers(portions, CHANGES[name])
    assert list(got) == list(CHANGES[name])
    for each in whole:
        assert ((got[each] - whole[each]).norm() / whole[each].norm()).item() < 1e-6
    assert encoder_rows == []


def test_it_is_bit_equal_where_the_shapes_agree():
    got, whole, _ = answers([2, 2], CHANGES["pag"])
    assert torch.equal(got["pag"], whole["pag"])


REQUESTS = {
    "pag": {"pag": {"scale": 2}},
    "pag and seg": {"pag": {"scale": 2}, "seg": {"blur": 1}},
    "decoder": {"pag": {"scale": 2, "layers": "output.1"}},
    "freeu": {"pag": {"scale": 2, "layers": "output.1"}, "freeu": {}},
    "original": {"recipe": "original", "pag": {"scale": 2}, "seg": {"blur": 1}},
}


def unet_of(host: Host) -> nn.Module:
    """The UNet as the host calls it."""
    engine = host.sd_model
    return engine.kmodel.diffusion_model if hasattr(engine, "kmodel") else engine.model.diffusion_model


def encoder_rows(host: Host) -> list[int]:
    """Collects the rows that the first block of the UNet sees."""
    seen: list[int] = []
    unet_of(host).input_blocks[0].register_forward_hook(lambda module, args, output: seen.append(len(output)))
    return seen


@pytest.mark.parametrize("make", [new_host, new_forge], ids=["a1111", "forge"])
@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DDIM"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_job_is_the_same_and_the_encoder_runs_for_the_main_prediction_alone(make: Any, sampler: str, name: str):
    settings = {"sampler_name": sampler, "batch_size": 2, "height": 80}
    plain, shared, whole = make(), make(), make()
    rows, shared_rows, whole_rows = encoder_rows(plain), encoder_rows(shared), encoder_rows(whole)
    samples(plain, **settings)
    got = samples(shared, REQUESTS[name], **settings)
    _replace_forward(unet_of(whole))
    wanted = samples(whole, REQUESTS[name], **settings)
    assert ((got - wanted).norm() / wanted.norm()).item() < 1e-5
    assert sum(shared_rows) == sum(rows) < sum(whole_rows)


def _replace_forward(unet: nn.Module) -> None:
    """As ControlNet and compilers do: from then on whole passes are made."""
    unet.forward = type(unet).forward.__get__(unet)


@pytest.mark.parametrize("make", [new_host, new_forge], ids=["a1111", "forge"])
@pytest.mark.parametrize("layers", ["input.1", "input.1,middle"])
def test_a_perturbed_input_block_needs_the_encoder(make: Any, layers: str):
    host = make()
    rows = encoder_rows(host)
    samples(host, {"pag": {"layers": layers}}, steps=1)
    assert sum(rows) == 3
