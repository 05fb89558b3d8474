"""A1111 spreads its tensors over devices and precisions; here all is float32 on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

cpu = device = torch.device("cpu")
dtype = dtype_unet = dtype_vae = torch.float32


def autocast(disable: bool = False) -> AbstractContextManager:
    return nullcontext()


def torch_gc() -> None:
    """Nothing to free on the CPU."""
