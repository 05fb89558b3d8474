"""FreeU in a whole UNet, against diffusers' with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_sdfm.hosts.a1111.decoder import EditedSkips
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.techniques.freeu import FreeU, FreeuSettings
from tests.hosts.test_diffusers import TEXT, TIMES, X, their_unet
from tests.support import predict, tiny_unet

STEP = ModelCall(index=0, total=4, sigma=1.0, timestep=500.0)
FACTORS = [(1.3, 0.6), (0.8, 1.2)]


def ours(backbone: float, skip: float) -> Tensor:
    """Diffusers tells stages by their blocks, we by the width of what comes in: equal factors in both mean the same."""
    unet = tiny_unet()
    stages = {f"stage{stage}_{name}": value for stage in (1, 2, 3) for name, value in (("backbone", backbone), ("skip", skip))}
    technique = FreeU(FreeuSettings(preset="Custom", version="1", **stages), "sdfm")
    skips = EditedSkips(unet, lambda h, features, width: technique.skip(h, features, width, call=STEP))
    skips.attach()
    try:
        return predict(unet, X, TIMES, TEXT)
    finally:
        skips.detach()


@torch.no_grad()
@pytest.mark.parametrize(("backbone", "skip"), FACTORS)
def test_the_unet_with_freeu_is_theirs(backbone: float, skip: float):
    theirs = their_unet(tiny_unet())
    plain = theirs(X, TIMES, TEXT).sample
    theirs.enable_freeu(s1=skip, s2=skip, b1=backbone, b2=backbone)
    wanted = theirs(X, TIMES, TEXT).sample
    torch.testing.assert_close(ours(backbone, skip), wanted, rtol=1e-3, atol=1e-4)
    assert (wanted - plain).std() > 0.01
