"""A1111 spreads its tensors over devices and precisions; here all is float32 on the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

cpu = device = torch.device("cpu")
dtype = torch.float32


def autocast(disable: bool = False) -> AbstractContextManager:
    return nullcontext()
