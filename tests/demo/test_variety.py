"""The demo as every kind of host that the stand-ins know: techniques in it, one picture and three at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
import torch

from tests.hosts.variety import CPU, VARIETIES, Variety
from tests.support import vector_of
from tests.together import in_original, together

KINDS = [name for name, kind in VARIETIES.items() if kind.device == CPU]
REQUESTS = [together(), together(*in_original(), recipe="original")]
SMALL = {"width": 64, "height": 64, "steps": 2}
HALF = 5
"""Largest mean difference, of 255, that half weights may make in two steps with all techniques."""


@contextmanager
def given(kind: Variety) -> Iterator[None]:
    """While it is open the demo's checkpoint is one of this kind."""
    from modules import devices, processing_base, sd_models, shared

    def afresh() -> None:
        processing_base.StableDiffusionProcessing.cached_c[:] = [None, None]
        processing_base.StableDiffusionProcessing.cached_uc[:] = [None, None]
        sd_models.forget_models()
        sd_models.reload_model_weights()

    def call(x, timesteps, context, y=None, c_concat=None):
        assert (y is not None) is kind.sdxl
        if kind.sdxl:  # rows of both of SDXL's conds go together
            assert torch.equal(y, vector_of(context))
        return kind.call(unet, x, timesteps, context=context, y=y)

    def apply_model(x, timesteps, cond):
        text = (cond["crossattn"], cond["vector"]) if kind.sdxl else cond["c_crossattn"]
        return call(x, timesteps, *text)

    afresh()
    model = shared.sd_model
    encode, unet = model.get_learned_conditioning, kind.prepare(model.model.diffusion_model)
    model.get_learned_conditioning = lambda texts: kind.conds(encode(texts))
    model.apply_model, model.is_sdxl, model.is_sd1 = apply_model, kind.sdxl, not kind.sdxl
    try:
        with patch.object(devices, "autocast", kind.running):
            yield
    finally:
        afresh()


def pictures(host, request: dict, batch_size: int) -> np.ndarray:
    answer = host.guided(request, **SMALL, batch_size=batch_size, override_settings={"return_grid": False})
    assert answer.status == 200 and not host.swallowed, (answer.body, host.swallowed)
    return np.stack([np.asarray(picture).astype(int) for picture in answer.pictures])


@pytest.fixture(scope="module")
def usual(host) -> dict[bool, list[np.ndarray]]:
    """Pictures of each request in float32, three at a time, without SDXL's conds and with them: presets differ."""
    host.reset()
    found = {}
    for sdxl in (False, True):
        with given(Variety(sdxl=sdxl)):
            found[sdxl] = [pictures(host, request, 3) for request in REQUESTS]
    return found


@pytest.mark.parametrize("name", KINDS)
def test_techniques_in_every_kind_of_host(host, usual, name: str):
    kind = VARIETIES[name]
    with given(kind):
        plain = pictures(host, {}, 1)
        made = [pictures(host, request, 3) for request in REQUESTS]
        alone = pictures(host, REQUESTS[0], 1)
    assert np.abs(made[0][:1] - alone).mean() <= 1
    for got, wanted in zip(made, usual[kind.sdxl]):
        assert (got[:1] != plain).any()
        assert np.abs(got - wanted).mean() <= (0 if kind.dtype == torch.float32 else HALF)
