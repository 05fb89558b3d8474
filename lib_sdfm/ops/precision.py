"""Computing in the type of one's own tensors, whatever the host runs the model in.

Inside ``torch.autocast`` matrix products and convolutions are half, even of float32 tensors: sums over a map overflow there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

ALWAYS_AUTOCAST = ("cuda", "cpu", "xpu")
"""Kinds of devices that every supported version of torch has autocast for."""


def outside_autocast(like: Tensor) -> AbstractContextManager:
    """Return a context in which operations on the device of ``like`` keep the type of their arguments."""
    kind = like.device.type
    is_available = getattr(torch.amp, "is_autocast_available", ALWAYS_AUTOCAST.__contains__)  # torch 2.4
    return torch.autocast(kind, enabled=False) if is_available(kind) else nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if its type is narrower, else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
