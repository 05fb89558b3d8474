"""Make the parts of third-party packages importable that the WebUI needs, without the rest of them.

Shared by the demo, the tests and the benchmarks.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import torch


def make_importable() -> None:
    """Let torchvision, k-diffusion's samplers and the LDM UNet be imported; call it before them, as often as you like."""
    _declare_torchvision_operators()
    _skip_init("k_diffusion")
    replace_omegaconf()


def _declare_torchvision_operators() -> None:
    """Declare operators: PyPI's torchvision describes them on import, and they are missing beside a CPU build of torch."""
    if "torchvision" in sys.modules:
        return
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")


def _skip_init(name: str) -> None:
    """Make a package importable without its own ``__init__``: k-diffusion's imports tools for training."""
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None:
        return
    module = ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations or ())
    module.__spec__ = spec
    sys.modules[name] = module


def replace_omegaconf() -> None:
    """Replace omegaconf where it is missing: the UNet only asks whether its context size is a ``ListConfig``."""
    if "omegaconf" in sys.modules or importlib.util.find_spec("omegaconf") is not None:
        return
    package, module = ModuleType("omegaconf"), ModuleType("omegaconf.listconfig")
    package.__path__ = []
    package.__spec__ = importlib.util.spec_from_loader("omegaconf", loader=None, is_package=True)
    module.ListConfig = type("ListConfig", (list,), {})
    package.listconfig = module
    sys.modules.update({"omegaconf": package, "omegaconf.listconfig": module})
