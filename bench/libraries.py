"""k-diffusion's samplers, without the tools for training that its package imports."""

from __future__ import annotations

import importlib.util
import sys
import types

import torch


def _make_importable() -> None:
    if "k_diffusion" in sys.modules:
        return
    for name in ("nms", "qnms"):  # operators that the CPU build of torchvision describes and lacks
        torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    package = types.ModuleType("k_diffusion")
    package.__spec__ = importlib.util.find_spec("k_diffusion")
    package.__path__ = package.__spec__.submodule_search_locations
    sys.modules["k_diffusion"] = package


_make_importable()

import k_diffusion.sampling as sampling  # noqa: E402

__all__ = ["sampling"]
