"""Libraries of the bench on a machine that has torch and little else: import this before k-diffusion and the stand-in hosts.

Euler needs neither ODE solvers nor Brownian trees, and no picture is converted: what would offer them may be missing.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

OPTIONAL = {
    "scipy": ("integrate",), "torchdiffeq": ("odeint",), "torchsde": (), "safetensors": (), "fastapi": ("HTTPException",),
}  # fmt: skip
"""Libraries that are imported and not used here, and the names that are asked of them."""
TORCHVISION = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


class _Unused(Exception):
    """Stands in for what a missing library offers: it can be derived from and raised, as ``HTTPException`` is."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, *kwargs.values())


def make_importable() -> None:
    """Put empty modules in the place of missing libraries; harmless where everything is there or prepared already.

    torchvision is replaced even if present: ``bench.libraries`` describes operators that an intact one describes itself.
    """
    if "k_diffusion" in sys.modules:
        return
    for name, offers in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            _add_module(name, dict.fromkeys(offers, _Unused))
    if "torchvision" not in sys.modules:
        inner: dict[str, object] = {}
        for name in reversed(TORCHVISION):
            inner = {name.rpartition(".")[2]: _add_module(name, inner)}


def _add_module(name: str, contents: dict[str, object]) -> types.ModuleType:
    module = sys.modules[name] = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(contents)
    return module


make_importable()

import bench.flow.libraries  # noqa: E402, F401

CompVisVDenoiser = importlib.import_module("k_diffusion.external").CompVisVDenoiser
"""k-diffusion's denoiser of models that predict v."""
