"""Attention perturbed through Forge's patches, beside patches that merge tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.forge.attention import AttentionPatches, token_grid
from lib_sdfm.hosts.unet_layers import UnetLayers
from lib_sdfm.sampling.layers import parse_layers
from lib_sdfm.sampling.stages import Perturbation
from tests.hosts.forge_unet import ForgeUnet
from tests.support import CONTEXT, noise_of, tiny_unet

CHANGES = {
    "PAG": Perturbation(parse_layers("input.1"), identity=True),
    "PAG of recipe original": Perturbation(parse_layers("input.1"), identity=True, project=False),
    "SEG": Perturbation(parse_layers("input.1"), query=lambda q, grid: q.mean(1, keepdim=True).expand_as(q)),
}


def run(unet: ForgeUnet, options: dict[str, Any]) -> Tensor:
    given = {"cond_or_uncond": [0], "sigmas": torch.tensor([14.0, 1.0]), **options}
    return unet(noise_of(1, 2, 4, 8, 8), torch.tensor([500.0, 20.0]), noise_of(2, 2, 5, CONTEXT), given)


def merge(n: Tensor, context: Tensor, value: Tensor, extra: dict) -> tuple[Tensor, Tensor, Tensor]:
    """Forge's token merging: fewer queries, as many keys and values."""
    return (n[:, ::2] if extra["block"] == ("input", 1) else n), context, value


def unmerge(n: Tensor, extra: dict) -> Tensor:
    return n.repeat_interleave(2, 1) if extra["block"] == ("input", 1) else n


MERGING = {"patches": {"attn1_patch": [merge], "attn1_output_patch": [unmerge]}}


@pytest.mark.parametrize("name", CHANGES)
def test_merged_tokens_change_nothing_in_a_perturbed_layer(name: str):
    unet = ForgeUnet(tiny_unet())
    change = AttentionPatches(UnetLayers(unet), CHANGES[name])
    merged, alone = run(unet, change.added_to(MERGING)), run(unet, change.added_to({}))
    change.require_ran()
    torch.testing.assert_close(merged, alone)
    assert not torch.allclose(merged, run(unet, {}), atol=1e-3)
    assert not torch.allclose(run(unet, MERGING), run(unet, {}), atol=1e-3)


def test_a_map_is_asked_for_before_tokens_are_merged():
    """A quarter of the tokens would be taken for the map of the next level."""
    grids = []

    def note(q: Tensor, grid: tuple[int, int]) -> Tensor:
        grids.append(grid)
        return q

    def quarter(n: Tensor, context: Tensor, value: Tensor, extra: dict) -> tuple[Tensor, Tensor, Tensor]:
        return (n[:, ::4] if extra["block"] == ("input", 1) else n), context, value

    def back(n: Tensor, extra: dict) -> Tensor:
        return n.repeat_interleave(4, 1) if extra["block"] == ("input", 1) else n

    unet = ForgeUnet(tiny_unet())
    change = AttentionPatches(UnetLayers(unet), Perturbation(parse_layers("input.1"), query=note))
    run(unet, change.added_to({"patches": {"attn1_patch": [quarter], "attn1_output_patch": [back]}}))
    assert set(grids) == {(8, 8)}


@pytest.mark.parametrize("tokens", [0, 2, 50, 100])
def test_tokens_that_no_level_has_are_refused(tokens: int):
    with pytest.raises(UnsupportedError, match=f"sees {tokens} tokens.*8x8 has no map"):
        token_grid([2, 4, 8, 8], tokens, "input.1.0")
