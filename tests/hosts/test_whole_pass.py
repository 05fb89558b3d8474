"""Where somebody else changes what the UNet computes, whole passes are made, and the picture is what it should be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.hosts.a1111.tail import A1111Tail
from lib_sdfm.hosts.forge.tail import others_in
from tests.hosts.fake_a1111 import Host
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.jobs import HOSTS, new_forge, new_host, samples
from tests.hosts.test_tail import rows_through, unet_of
from tests.support import tiny_unet

PAG = {"pag": {"scale": 2}}
STEPS = 2
BESIDE_OTHERS = 2 + 2 + 1
"""Rows of a step: main and perturbed prediction with both rows, and in one of two steps the main one again."""


def sampled(host: Host) -> tuple[Tensor, int]:
    """Return what PAG gives, and how many rows the encoder saw in each step."""
    with rows_through(unet_of(host).input_blocks[0][0]) as rows:
        return samples(host, PAG, steps=STEPS), sum(rows) // STEPS


def on_the_instance(unet: nn.Module, patch: pytest.MonkeyPatch) -> None:
    own = unet.forward
    patch.setattr(unet, "forward", lambda *args, **kwargs: own(*args, **kwargs), raising=False)


def on_the_class(unet: nn.Module, patch: pytest.MonkeyPatch) -> None:
    own = type(unet).forward

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        return own(self, *args, **kwargs)

    patch.setattr(type(unet), "forward", forward)


def in_pieces(unet: nn.Module, patch: pytest.MonkeyPatch) -> None:
    """Rows go through the UNet one by one, behind a wrapper around it."""
    inner = tiny_unet()

    class Pieces(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.inner, name)

        def forward(self, x: Tensor, timesteps: Tensor, context: list[Tensor]) -> Tensor:
            rows = [
                self.inner(x[i : i + 1], timesteps[i : i + 1], context=[c[i : i + 1] for c in context]) for i in range(len(x))
            ]
            return torch.cat(rows)

    Pieces.__module__ = type(inner).__module__
    Pieces.forward.__module__ = type(inner).__module__
    patch.setattr(unet, "wrapped", Pieces(), raising=False)


@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("replace", [on_the_instance, on_the_class])
def test_a_replaced_forward(make: Callable[[], Host], replace: Callable, monkeypatch: pytest.MonkeyPatch):
    wanted, shared_rows = sampled(make())
    host = make()
    replace(unet_of(host), monkeypatch)
    got, rows = sampled(host)
    assert ((got - wanted).norm() / wanted.norm()).item() < 1e-5
    assert (shared_rows, rows) == (2, BESIDE_OTHERS)


def test_rows_that_go_through_in_pieces(monkeypatch: pytest.MonkeyPatch):
    wanted, _ = sampled(new_host())
    host = new_host()
    in_pieces(unet_of(host), monkeypatch)
    host.sd_model.model.diffusion_model = unet_of(host).wrapped
    got, rows = sampled(host)
    assert ((got - wanted).norm() / wanted.norm()).item() < 1e-5
    assert rows == 3


def test_a_tail_that_does_not_fit_is_tried_once_per_pass(monkeypatch: pytest.MonkeyPatch):
    host, tails = new_host(), []
    in_pieces(unet_of(host), monkeypatch)
    host.sd_model.model.diffusion_model = unet_of(host).wrapped
    forward = A1111Tail._main_forward
    monkeypatch.setattr(
        A1111Tail, "_main_forward", lambda *args, **kwargs: tails.append(host.callbacks[:]) or forward(*args, **kwargs)
    )
    samples(host, PAG, steps=4)
    assert tails and all(not steps_before for steps_before in tails)  # in the first step alone


def test_a_replaced_cat_as_the_old_freeu_has_it(monkeypatch: pytest.MonkeyPatch):
    """Its edits stand in ``th.cat`` of the UNet's module: the tail doesn't know them, whole passes do."""
    host, module = new_host(), sys.modules[type(unet_of(new_host())).__module__]

    def cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
        return torch.cat([tensors[0] * 1.5, *tensors[1:]], dim=dim)

    monkeypatch.setattr(module, "th", SimpleNamespace(**{**vars(torch), "cat": cat}))
    got, rows = sampled(host)
    assert rows == 3
    monkeypatch.undo()
    assert (got - samples(new_host(), PAG, steps=STEPS)).abs().max() > 0.01


def with_patch(name: str, function: Callable) -> Callable[[dict], None]:
    def add(options: dict) -> None:
        options["transformer_options"].setdefault("patches", {})[name] = [function]

    return add


def with_option(name: str, function: Callable) -> Callable[[dict], None]:
    return lambda options: options["transformer_options"].update({name: [function]})


def with_replacement(options: dict) -> None:
    replaced = options["transformer_options"].setdefault("patches_replace", {})
    replaced["attn1"] = {("output", 0): lambda q, k, v, extra: v}


OTHERS = {
    "input": with_patch("input_block_patch", lambda h, extra: h),
    "output": with_patch("output_block_patch", lambda h, skip, extra: (h * 1.1, skip)),
    "attention": with_patch("attn1_patch", lambda n, context, value, extra: (n * 1.1, context, value)),
    "attention output": with_patch("attn1_output_patch", lambda n, extra: n * 1.1),
    "modifier": with_option("block_modifiers", lambda h, when, extra: h),
    "replaced attention": with_replacement,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_extensions_patches_in_forge(name: str):
    """The tail doesn't go on with them; what they change, they change in all predictions."""
    host = new_forge()
    _install(host, OTHERS[name])
    got, rows = sampled(host)
    assert rows == BESIDE_OTHERS and got.isfinite().all()
    plain = new_forge()
    _install(plain, OTHERS[name])
    assert (got - samples(plain, None, steps=STEPS)).std() > 0.01


def test_controlnet_in_forge():
    class Control:
        pass

    assert not others_in({"transformer_options": {}}, [{"control": None}], [])
    assert others_in({"transformer_options": {}}, [{"control": Control()}], []) == (__name__,)
    wrapped = {"transformer_options": {}, "model_function_wrapper": lambda apply, args: None}
    assert others_in(wrapped, [{}], []) == (__name__,)


def _install(host: ForgeHost, add: Callable[[dict], None]) -> None:
    add(host.sd_model.first_unet.model_options)
