"""A hook that never runs is an error by name: the UNet that the host calls is another implementation than the one we see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import attached, samples
from tests.hosts.test_tail import unet_of
from tests.support import tiny_unet

REQUESTS = {
    "freeu": ({"freeu": {}}, "FreeU"),
    "freeu original": ({"recipe": "original", "freeu": {"version": "1"}}, "FreeU"),
    "pag": ({"pag": {}}, "Attention"),
    "seg": ({"seg": {}}, "Attention"),
    "seg original": ({"recipe": "original", "seg": {}}, "Attention"),
    "nag": ({"nag": {}}, "NAG"),
    "both": ({"pag": {}, "freeu": {}}, "FreeU"),
}


def replace_unet(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the host call another UNet than the one that it shows, as TensorRT's and compiled ones are called."""
    shown = unet_of(host)
    other = tiny_unet() if host.unet is shown else type(shown)(tiny_unet())

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        if "transformer_options" in kwargs:  # Forge's patches mean nothing to it
            kwargs["transformer_options"] = {"cond_or_uncond": kwargs["transformer_options"]["cond_or_uncond"]}
        return other(*args, **kwargs)

    monkeypatch.setattr(shown, "forward", forward, raising=False)


@pytest.mark.parametrize("name", REQUESTS)
def test_guidance_inside_a_replaced_unet_is_refused(host: Host, name: str, monkeypatch: pytest.MonkeyPatch):
    request, label = REQUESTS[name]
    replace_unet(host, monkeypatch)
    plain, before = samples(host), attached(host.sd_model)
    with pytest.raises(SdfmError, match=f"{label}.*did not run: another implementation replaces the UNet"):
        samples(host, request)
    assert attached(host.sd_model) == before
    assert torch.equal(samples(host), plain)


def test_what_is_outside_of_the_unet_works(host: Host, monkeypatch: pytest.MonkeyPatch):
    request = {"cfg_rescale": {}, "dynamic_thresholding": {"mimic_scale": 3}}
    wanted = samples(host, request)
    replace_unet(host, monkeypatch)
    assert torch.equal(samples(host, request), wanted)
