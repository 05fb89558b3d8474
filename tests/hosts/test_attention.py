"""Perturbed self-attention in the real UNet, against a replaced ``forward``."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.a1111.attention import PerturbedAttention
from lib_sdfm.hosts.unet_layers import UnetLayers
from lib_sdfm.sampling.layers import parse_layers, select_layers
from lib_sdfm.sampling.stages import Perturbation
from tests.hosts.reference import without_self_attention
from tests.support import fingerprint, noise_of, predict, tiny_unet

LAYERS = ["middle", "middle.0", "input.1", "input.3.1, output.0", "output.1.0-1, middle.1", "d1, m0.0, u0-1.1"]


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    return tiny_unet()


@torch.no_grad()
def output(unet: nn.Module) -> Tensor:
    return predict(unet, noise_of(1, 2, 4, 8, 8), torch.tensor([300.0, 700.0]), noise_of(2, 2, 5, 16))


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("layers", LAYERS)
def test_the_identity_map_gives_the_values(unet: nn.Module, layers: str, project: bool):
    ranges = parse_layers(layers)
    with ExitStack() as stack:
        for layer in select_layers(unet, ranges):
            stack.enter_context(without_self_attention(layer.module.attn1, project))
        wanted = output(unet)
    with PerturbedAttention(UnetLayers(unet), Perturbation(ranges, identity=True, project=project)):
        got = output(unet)
    torch.testing.assert_close(got, wanted)
    assert not torch.allclose(got, output(unet), rtol=1e-2, atol=1e-2)


def test_rows_do_not_mix(unet: nn.Module):
    """A batch of two equals two of one."""
    x, times, text = noise_of(1, 2, 4, 8, 8), torch.tensor([300.0, 700.0]), noise_of(2, 2, 5, 16)
    with PerturbedAttention(UnetLayers(unet), Perturbation(parse_layers("middle"), identity=True)), torch.no_grad():
        both = predict(unet, x, times, text)
        alone = [predict(unet, x[i : i + 1], times[i : i + 1], text[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(both, torch.cat(alone))


@pytest.mark.parametrize("failing", [False, True])
def test_it_leaves_nothing_behind(unet: nn.Module, failing: bool):
    before, known = fingerprint(unet), output(unet)
    perturbed = PerturbedAttention(UnetLayers(unet), Perturbation(parse_layers("middle, input.1"), identity=True))
    with pytest.raises(ZeroDivisionError) if failing else ExitStack(), perturbed:
        output(unet)
        assert fingerprint(unet) != before
        assert not failing or 1 / 0
    assert fingerprint(unet) == before
    assert torch.equal(output(unet), known)


def test_attention_that_did_not_run_is_an_error(unet: nn.Module):
    before = fingerprint(unet)
    perturbed = PerturbedAttention(UnetLayers(unet), Perturbation(parse_layers("middle"), identity=True))
    with pytest.raises(UnsupportedError, match="middle.0, middle.1 did not run"), perturbed:
        pass
    assert fingerprint(unet) == before
