"""Computation in the type of one's own tensors, independent of the host's precision.

Inside ``torch.autocast`` matrix products and convolutions run in half precision, even for float32 tensors: sums over a map
overflow there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

BEFORE_2_4 = ("cuda", "cpu", "xpu")
"""Device types with autocast in torch versions that can't be asked if it is on."""


def outside_autocast(like: Tensor) -> AbstractContextManager:
    """Return a context in which operations on the device of ``like`` keep the type of their arguments."""
    kind = like.device.type
    try:
        is_on = torch.is_autocast_enabled(kind)
    except TypeError:
        is_on = kind in BEFORE_2_4
    return torch.autocast(kind, enabled=False) if is_on else nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if its type is narrower, else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64 if a device supports it, else float32 (MPS, DirectML and some XPUs don't)."""
    try:
        torch.zeros((), dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return torch.float32
    return torch.float64
