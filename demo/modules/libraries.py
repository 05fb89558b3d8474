"""Makes the parts of third-party packages importable that the WebUI needs, without the rest of them.

Import this before k_diffusion, ldm or torchvision.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import torch


def _declare_torchvision_operators() -> None:
    """PyPI's torchvision fails at import beside a CPU build of torch, because its compiled operators are missing."""
    if "torchvision" in sys.modules:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for signature in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", "qnms(Tensor dets) -> Tensor"):
        name = signature.split("(")[0]
        if not hasattr(torch.ops.torchvision, name):
            library.define(signature)
    _declare_torchvision_operators.keep = library  # operators vanish with their library


def _namespace(name: str) -> None:
    """A package whose own ``__init__`` is not run (k_diffusion's imports tools for training)."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    module = ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations)
    module.__spec__ = spec
    sys.modules[name] = module


def _stand_in_for_omegaconf() -> None:
    """The UNet only asks whether its context size is a ``ListConfig``; here it never is."""
    if importlib.util.find_spec("omegaconf") is not None:
        return
    package, module = ModuleType("omegaconf"), ModuleType("omegaconf.listconfig")
    package.__path__ = []
    package.__spec__ = importlib.util.spec_from_loader("omegaconf", loader=None, is_package=True)
    module.ListConfig = type("ListConfig", (list,), {})
    package.listconfig = module
    sys.modules.update({"omegaconf": package, "omegaconf.listconfig": module})


_declare_torchvision_operators()
_namespace("k_diffusion")
if "omegaconf" not in sys.modules:
    _stand_in_for_omegaconf()

import k_diffusion.external  # noqa: E402
import k_diffusion.sampling  # noqa: E402
import k_diffusion.utils  # noqa: E402
from ldm.modules.attention import SpatialTransformer  # noqa: E402
from ldm.modules.diffusionmodules.openaimodel import UNetModel  # noqa: E402
from ldm.modules.diffusionmodules.util import timestep_embedding  # noqa: E402

external = k_diffusion.external
sampling = k_diffusion.sampling

__all__ = ["SpatialTransformer", "UNetModel", "external", "sampling", "timestep_embedding"]
