"""Edited cross-attention: whose rows, which negative prompt, and when it is encoded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.a1111.cross_attention import CondFirst
from lib_sdfm.hosts.cross_attention import CrossAttention, NegativePrompt, TextHost
from lib_sdfm.hosts.forge.cross_attention import MarkedRows
from lib_sdfm.hosts.unet_layers import UnetLayers
from tests.hosts.fake_a1111 import ScheduledCond
from tests.support import CONTEXT, noise_of, predict, tiny_unet


def rows_of(before: int, called: int, own: int | None, rows: int) -> list[int | None]:
    recorder = SimpleNamespace(current_rows=lambda: (before, called))
    return CondFirst([0, 0, 1], recorder, "NAG", lambda: own).images(rows)


@pytest.mark.parametrize(
    ("call", "images"),
    [
        ((0, 5, None, 5), [0, 0, 1, None, None]),
        ((0, 2, None, 2), [0, 0]),
        ((2, 2, None, 2), [1, None]),
        ((4, 1, None, 1), [None]),
        ((0, 5, None, 3), [0, 0, 1]),  # unconditional rows are left out
        ((0, 5, 5, 8), [0, 0, 1, None, None, 0, 0, 1]),
        ((0, 2, 2, 6), [0, 0, 0, 0, 0, 0]),
        ((2, 2, 0, 2), [1, 1]),  # the tail's rows apart
        ((2, 2, 2, 2), [1, None]),
    ],
)
def test_rows_on_a1111(call: tuple, images: list[int | None]):
    assert rows_of(*call) == images


@pytest.mark.parametrize("call", [(0, 5, None, 20), (0, 5, None, 4), (4, 1, 1, 2), (0, 5, 5, 7)])
def test_rows_that_fit_no_call_are_named(call: tuple):
    with pytest.raises(UnsupportedError, match=f"NAG: attention sees {call[3]} rows where the model was called with {call[1]}"):
        rows_of(*call)


def test_rows_on_forge():
    marked = MarkedRows()
    see = marked.patch()
    assert marked.images(2) is None  # a call without our patch
    context = torch.zeros(6, 77, 8)
    options = {"cond_or_uncond": [1, 0, 0], "sigmas": torch.ones(2), "original_shape": (6, 4, 8, 8)}
    assert see("n", context, "value", options) == ("n", context, "value")
    assert marked.images(6) == [None, None, 0, 1, 0, 1]
    assert marked.images(6) is None


class Job:
    """A processing object whose conds follow the loaded model."""

    sd_model = SimpleNamespace(is_sdxl=False, name="first")
    negative_prompts, hr_negative_prompts = ["bad", "bad"], ["worse", "worse"]
    firstpass_steps, steps, hr_second_pass_steps, is_hr_pass = 20, 20, 5, False
    extra_network_data, hr_extra_network_data = "networks", "networks of the hires pass"
    sampler = SimpleNamespace(config=SimpleNamespace(total_steps=lambda steps: steps * 2))

    def __init__(self, uc: Any = None) -> None:
        self.uc, self.set_up = uc, 0

    def get_conds(self) -> tuple[None, Any]:
        return None, self.uc

    def setup_conds(self) -> None:
        self.set_up += 1

    def get_conds_with_caching(
        self, function: Any, texts: Any, steps: int, caches: Any, networks: Any, hires_steps: Any
    ) -> Any:
        return function(self.sd_model, texts, steps, hires_steps, networks)


def negative_of(text: str, p: Job) -> tuple[NegativePrompt, list]:
    asked: list = []

    def encode(model: Any, texts: list[str], *more: Any) -> list:
        asked.append((model.name, texts, *more))
        return [[ScheduledCond(9, torch.zeros(1, 1)), ScheduledCond(20, torch.ones(1, 1))]] * len(texts)

    return NegativePrompt(text, p, TextHost(encode)), asked


def test_the_hosts_encoding_is_used_and_followed():
    p = Job([[ScheduledCond(4, "a"), ScheduledCond(20, "b")], [ScheduledCond(20, {"crossattn": "c", "vector": "v"})]])
    negative, asked = negative_of("", p)
    assert [negative.at(step) for step in (0, 4, 5, 20, 99)] == [["a", "c"], ["a", "c"], ["b", "c"], ["b", "c"], ["a", "c"]]
    p.uc = [[ScheduledCond(20, "d")]] * 2
    assert negative.at(0) == ["d", "d"] and not asked


@pytest.mark.parametrize(
    ("text", "uc", "hires", "encoded"),
    [
        ("", None, False, ("first", ["bad", "bad"], 20, None, "networks")),
        ("", None, True, ("first", ["worse", "worse"], 20, 10, "networks of the hires pass")),
        ("own", [["host's"]], False, ("first", ["own", "own"], 20, None, "networks")),
    ],
)
def test_it_is_encoded_where_the_host_has_no_encoding(text: str, uc: Any, hires: bool, encoded: tuple):
    p = Job(uc)
    p.is_hr_pass = hires
    negative, asked = negative_of(text, p)
    assert asked == [encoded]
    first, later = negative.at(9), negative.at(10)
    assert [cond.item() for cond in first] == [0, 0] and [cond.item() for cond in later] == [1, 1]
    assert first[0] is negative.at(0)[0]


def test_a_refiner_encodes_again_and_nothing_stays():
    p = Job()
    negative, asked = negative_of("", p)
    p.sd_model = SimpleNamespace(is_sdxl=False, name="refiner")
    p.setup_conds()
    assert [model for model, *_ in asked] == ["first", "refiner"] and p.set_up == 1
    negative.detach()
    p.setup_conds()
    assert len(asked) == 2 and p.set_up == 2 and "setup_conds" not in vars(p)


def test_nothing_stays_if_encoding_fails():
    p = Job()
    with pytest.raises(ZeroDivisionError):
        NegativePrompt("", p, TextHost(lambda *args: 1 // 0))
    assert "setup_conds" not in vars(p)


@torch.no_grad()
def edited(unet: nn.Module, host: TextHost, negatives: list[Tensor], times: int = 1) -> Tensor:
    """The UNet's output for one row, with attention to the prompt replaced by attention to the negative prompt."""
    cross = CrossAttention(UnetLayers(unet), "NAG", host)
    for _ in range(times):
        cross.attach(lambda positive, negative: negative, negatives, lambda rows: [0] * rows)
        output = predict(unet, noise_of(1, 1, 4, 8, 8), torch.tensor([400.0]), noise_of(2, 1, 3, CONTEXT))
        cross.require_ran()
        cross.detach()
    return output


def plain(unet: nn.Module, text: Tensor) -> Tensor:
    with torch.no_grad():
        return predict(unet, noise_of(1, 1, 4, 8, 8), torch.tensor([400.0]), text[None])


def test_attention_to_the_other_text_is_the_models():
    unet, other = tiny_unet(), noise_of(3, 7, CONTEXT)
    torch.testing.assert_close(edited(unet, TextHost(None), [other]), plain(unet, other), rtol=1e-4, atol=1e-5)


def test_hypernetworks_change_the_other_text_as_well():
    unet, other = tiny_unet(), noise_of(3, 7, CONTEXT)
    host = TextHost(None, contexts=lambda context: (context * 2, context * 2))
    torch.testing.assert_close(edited(unet, host, [other]), plain(unet, other * 2), rtol=1e-4, atol=1e-5)


def test_keys_and_values_are_made_once_for_a_text():
    unet, made = tiny_unet(), []
    layer = next(module.attn2 for module in unet.modules() if hasattr(module, "attn2"))
    layer.to_k.register_forward_hook(lambda *args: made.append(1))
    edited(unet, TextHost(None), [noise_of(3, 7, CONTEXT)], times=3)
    assert len(made) == 3 + 1


def test_attention_of_another_shape_is_named():
    unet = tiny_unet()
    layer = unet.middle_block[1].transformer_blocks[0].attn2
    layer.forward = lambda x, context=None, mask=None: layer.to_out(layer.to_q(x)[:, :1])
    with pytest.raises(
        UnsupportedError, match=r"NAG: cross-attention of middle.0 gives \(1, 1, 64\) for queries of \(1, 16, 64\)"
    ):
        edited(unet, TextHost(None), [noise_of(3, 7, CONTEXT)])


def test_what_has_no_cross_attention_is_named():
    with pytest.raises(UnsupportedError, match="NAG: this model is not a Stable Diffusion UNet .Linear."):
        CrossAttention(UnetLayers(nn.Linear(1, 1)), "NAG", TextHost(None))
