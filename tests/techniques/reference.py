"""A host that is made quickly, and Euler with a model written out in plain torch, from the host's noise and schedule."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import k_diffusion.sampling as k
import torch
from torch import Tensor, nn

from tests.hosts.fake_a1111 import Host, Processing, Sampler
from tests.hosts.jobs import SdfmScript, job
from tests.support import tiny_unet


@functools.cache
def shared_unet() -> nn.Module:
    """The tiny UNet, made once."""
    return tiny_unet()


def fresh_host() -> Host:
    """A host with SDFM and :func:`shared_unet`, whose weights must stay as they are."""
    host = Host(shared_unet())
    host.sdfm = SdfmScript(host)
    return host


Model = Callable[[Processing], Callable[..., Tensor]]
"""Makes, for a job whose conds are set up, what k-diffusion's samplers call."""


@torch.no_grad()
def euler_samples(host: Host, model: Model, **settings: Any) -> Tensor:
    """Return the result of k-diffusion's Euler around a model, with the settings of a job."""
    p = job(host, **settings)
    p.setup_conds()
    sigmas = Sampler(host, "Euler").get_sigmas(p.steps)
    return k.sample_euler(model(p), p.noise(p.height // 8, p.width // 8) * sigmas[0], sigmas, disable=True)


def assert_same_picture(got: Tensor, wanted: Tensor) -> None:
    """Equal but for rounding, which sampling adds up."""
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3 * float(wanted.std()))
