"""The shared prefix and the tail, with all rows together or apart, give what whole passes give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from lib_sdfm.hosts.a1111.attention import PerturbedAttention
from lib_sdfm.hosts.a1111.recorded_calls import CallRecorder
from lib_sdfm.hosts.a1111.tail import A1111Tail, a1111_tail
from lib_sdfm.hosts.forge.tail import ForgeTail
from lib_sdfm.hosts.run import Together
from lib_sdfm.hosts.tail import Features, Tail, TailReached
from lib_sdfm.hosts.unet_layers import UnetLayers
from lib_sdfm.ops.blur import mean_tokens
from lib_sdfm.sampling.layers import parse_layers
from lib_sdfm.sampling.stages import Perturbation
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import HOSTS, new_forge, new_host, samples
from tests.hosts.variety import written_in
from tests.pairs import in_pairs
from tests.support import CONTEXT, DEPTH, noise_of, tiny_unet


class Model(nn.Module):
    """Surroundings of the UNet in the host."""

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


WAYS = {"together": 2, "apart": 0}
"""Most images whose rows run together."""


@contextmanager
def rows_through(module: nn.Module) -> Iterator[list[int]]:
    """Collect the rows of each call of a module, by a hook of all modules: one on itself would be a neighbour's."""
    seen: list[int] = []

    def see(called: nn.Module, args: tuple, output: Tensor) -> None:
        if called is module:
            seen.append(len(output))

    handle = register_module_forward_hook(see)
    try:
        yield seen
    finally:
        handle.remove()


def answers(portions: list[int], changes: dict, together: Together) -> tuple[dict, dict, Tensor, Tensor]:
    """Return what the tail and whole passes give for the first two of four rows, and the main prediction with and without."""
    unet = tiny_unet()
    model, recorder = Model(unet), CallRecorder()
    recorder.follow(model)
    x, time, text = noise_of(1, 4, 4, 8, 8), torch.tensor([400.0] * 4), noise_of(2, 4, 3, CONTEXT)
    plain = torch.cat([model(x[rows], time[rows], text=text[rows]) for rows in torch.arange(4).split(portions)])
    recorder.follow(model)
    tail = a1111_tail(UnetLayers(unet), changes, edits_skips=False, cond_rows=2, together=together)
    tail.attach()
    with rows_through(unet.input_blocks[0]) as encoder, rows_through(unet.out) as ends:
        main = torch.cat([model(x[rows], time[rows], text=text[rows]) for rows in torch.arange(4).split(portions)])
        tail.detach()
        assert tail.possible(recorder.rows_of_calls())
        got = tail.predictions(lambda: recorder.replay(2))
    assert encoder == portions
    assert sum(ends) == 4 + 2 * len(changes)
    assert "forward" not in vars(unet) and not any(module._forward_hooks for module in unet.modules())
    whole = {}
    for name, change in changes.items():
        with PerturbedAttention(UnetLayers(unet), change):
            whole[name] = recorder.replay(2)
    return got, whole, main, plain


def difference(got: Tensor, wanted: Tensor) -> float:
    return ((got - wanted).norm() / wanted.norm()).item()


@in_pairs(way=list(WAYS), portions=[[4], [2, 2], [1, 1, 1, 1], [3, 1]], name=list(CHANGES))
def test_it_gives_what_a_whole_pass_gives_without_the_encoder(name: str, portions: list[int], way: str):
    got, whole, main, plain = answers(portions, CHANGES[name], Together(WAYS[way]))
    assert list(got) == list(CHANGES[name])
    assert all(difference(got[each], whole[each]) < 1e-6 for each in whole)
    assert torch.equal(main, plain) if way == "apart" else difference(main, plain) < 1e-6


def test_it_is_bit_equal_where_the_shapes_agree():
    got, whole, *_ = answers([2, 2], CHANGES["pag"], Together(0))
    assert torch.equal(got["pag"], whole["pag"])


def test_together_each_module_of_the_tail_runs_once():
    counts = {}
    for name, changes in {"plain": {}, **CHANGES}.items():
        unet = tiny_unet()
        model = Model(unet)
        tail = a1111_tail(UnetLayers(unet), changes, edits_skips=False, cond_rows=1, together=Together())
        if tail is not None:
            tail.attach()
        with rows_through(unet.output_blocks[0]) as first, rows_through(unet.output_blocks[-1]) as last:
            model(noise_of(1, 2, 4, 8, 8), torch.tensor([400.0] * 2), text=noise_of(2, 2, 3, CONTEXT))
        counts[name] = len(first), len(last)
    assert set(counts.values()) == {(1, 1)}


class TestTogether:
    """When the rows run together."""

    SKIPS = [torch.zeros(2, 8, 4, 4), torch.zeros(2, 4, 8, 8)]
    ROW = 4 * (8 * 16 + 4 * 64)

    @pytest.mark.parametrize("images, allowed", [(1, True), (2, True), (3, False)])
    def test_up_to_two_images(self, images: int, allowed: bool):
        assert Together().allows(images, images, self.SKIPS) is allowed

    @pytest.mark.parametrize("free, allowed", [(10 * ROW + 1, True), (10 * ROW, False)])
    def test_as_far_as_free_memory_goes(self, free: int, allowed: bool):
        with patch("lib_sdfm.hosts.run.free_memory", lambda device: free):
            assert Together().allows(1, 2, self.SKIPS) is allowed

    def test_memory_is_asked_for_once(self):
        together = Together()
        with patch("lib_sdfm.hosts.run.free_memory", return_value=1e9) as free:
            assert all(together.allows(1, 2, self.SKIPS) for _ in range(5))
        assert free.call_count == 1

    @pytest.mark.parametrize("make, kind", [(new_host, A1111Tail), (new_forge, ForgeTail)], ids=["a1111", "forge"])
    def test_out_of_memory_they_run_apart_for_the_rest_of_the_run(self, make: Any, kind: type[Tail], caplog: Any):
        request = {"pag": {"scale": 2}, "seg": {"blur": 1}}
        host = make()
        run, tried = kind._run, []

        def fail(self: Tail, features: Features, own: int, parts: list[slice]) -> Tensor:
            if own and len(parts) > 1:
                tried.append(own)
                run(self, features, own, parts)  # hooks and values are there when memory ends
                raise torch.cuda.OutOfMemoryError("no memory")
            return run(self, features, own, parts)

        with patch.object(kind, "_run", fail):
            got = samples(host, request)
        assert len(tried) == 1 and any("one after another" in record.getMessage() for record in caplog.records)
        assert difference(got, samples(host, request)) < 1e-5


REQUESTS = {
    "pag": {"pag": {"scale": 2}},
    "pag and seg": {"pag": {"scale": 2}, "seg": {"blur": 1}},
    "decoder": {"pag": {"scale": 2, "layers": "output.1"}},
    "freeu": {"pag": {"scale": 2, "layers": "output.1"}, "freeu": {}},
    "original": {"recipe": "original", "pag": {"scale": 2}, "seg": {"blur": 1}},
}


def unet_of(host: Host) -> nn.Module:
    """The UNet as the host calls it."""
    return host.diffusion_model


def sampled(host: Host, *request: Any, **settings: Any) -> tuple[Tensor, int]:
    """Return a job's latents, and the rows that the UNet's encoder saw."""
    with rows_through(unet_of(host).input_blocks[0][0]) as seen:
        return samples(host, *request, **settings), sum(seen)


@in_pairs(host=list(HOSTS), sampler=["Euler", "Heun", "DDIM"], name=list(REQUESTS))
def test_a_job_is_the_same_and_the_encoder_runs_for_the_main_prediction_alone(host: str, sampler: str, name: str):
    settings = {"sampler_name": sampler, "batch_size": 2, "height": 80}
    _, plain_rows = sampled(HOSTS[host](), **settings)
    got, rows = sampled(HOSTS[host](), REQUESTS[name], **settings)
    with_neighbour = HOSTS[host]()
    unet_of(with_neighbour).middle_block.register_forward_hook(lambda module, args, output: None)
    wanted, whole_rows = sampled(with_neighbour, REQUESTS[name], **settings)
    assert difference(got, wanted) < 1e-5
    assert rows == plain_rows < whole_rows


def _forward(unet: nn.Module) -> None:
    own = unet.forward
    unet.forward = lambda *args, **kwargs: own(*args, **kwargs)


def _attention(unet: nn.Module) -> None:
    _forward(unet.middle_block[1].transformer_blocks[0].attn2)


def _block(unet: nn.Module) -> None:
    unet.output_blocks[1].register_forward_pre_hook(lambda module, args: None)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("change", [_forward, _attention, _block])
def test_beside_a_neighbour_in_the_unet_the_encoder_runs_as_often_as_the_host_calls_it(host: str, change: Any):
    made = HOSTS[host]()
    wanted = samples(made, {"pag": {"scale": 2}})
    change(unet_of(made))
    with rows_through(unet_of(made).middle_block[-1]) as middle:
        got, rows = sampled(made, {"pag": {"scale": 2}}, steps=3)
    assert rows == sum(middle) == 2 * (3 + 1 + 3)  # the main predictions, one of them once more, PAG's
    assert difference(samples(made, {"pag": {"scale": 2}}), wanted) < 1e-5


@pytest.mark.parametrize("host", HOSTS)
def test_the_method_of_the_class_on_the_unet_is_plain(host: str):
    """ControlNet leaves it behind."""
    made = HOSTS[host]()
    unet = unet_of(made)
    unet.forward = type(unet).forward.__get__(unet)
    _, rows = sampled(made, {"pag": {}}, steps=1)
    assert rows == 2 and vars(unet)["forward"].__func__ is type(unet).forward


@pytest.mark.parametrize("known", ["modules.lowvram", "tomesd", "hypertile"])
def test_the_hosts_own_hooks_are_no_neighbours(known: str):
    made = new_host()
    unet_of(made).middle_block.register_forward_pre_hook(written_in(known, lambda module, args: None))
    assert sampled(made, {"pag": {}}, steps=1)[1] == 2


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_in_the_tail_leaves_nothing_behind(host: str, error: type[BaseException]):
    made = HOSTS[host]()
    unet = unet_of(made)
    plain = samples(made)
    block = unet.output_blocks[1]

    def fail(*args: Any) -> Tensor:
        raise error("in the tail")

    fail.__module__ = type(block).__module__  # else it is a neighbour's
    with patch.object(type(block), "forward", fail), pytest.raises(error):
        samples(made, {"pag": {"scale": 2}, "seg": {}})
    assert "forward" not in vars(unet)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())
    assert torch.equal(samples(made), plain)


def test_leaving_the_forward_keeps_no_frame_alive():
    """Its frames hold all features."""
    unet = tiny_unet()
    tail = a1111_tail(UnetLayers(unet), CHANGES["pag"], edits_skips=False, cond_rows=1, together=Together(0))
    tail.attach()
    kept: list[BaseException] = []
    init = TailReached.__init__

    def keep(self: TailReached, features: Features) -> None:
        init(self, features)
        kept.append(self)

    with patch.object(TailReached, "__init__", keep):
        Model(unet)(noise_of(1, 2, 4, 8, 8), torch.tensor([400.0] * 2), text=noise_of(2, 2, 3, CONTEXT))
    assert kept[0].__traceback__ is None


@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("layers", ["input.1", "input.1,middle"])
def test_a_perturbed_input_block_needs_the_encoder(make: Any, layers: str):
    assert sampled(make(), {"pag": {"layers": layers}}, steps=1)[1] == 3


@pytest.mark.parametrize("host", HOSTS)
def test_what_perturbs_the_encoder_does_not_take_the_others_out_of_the_tail(host: str):
    request = {"pag": {"scale": 2, "layers": "input.1"}, "seg": {"blur": 1}}
    got, rows = sampled(HOSTS[host](), request, steps=1)
    assert rows == 3
    made = HOSTS[host]()
    _block(unet_of(made))
    wanted, whole_rows = sampled(made, request, steps=1)
    assert difference(got, wanted) < 1e-5 and whole_rows == 2 * 4
