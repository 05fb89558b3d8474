"""Lookup of a UNet's transformer blocks, done once, and of who else has changed the UNet."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from torch import nn

from ..errors import UnsupportedError
from ..sampling.layers import LayerRange, TransformerLayer, select_layers
from ..sampling.model_call import ModelCall
from ..sampling.stages import Stages

KNOWN = ("lib_sdfm", "modules.lowvram", "tomesd", "hypertile")
"""Modules whose hooks and forwards are ours or the hosts' own: they do the same for each row, in any number of rows."""
HOMES = ("torch", "modules", "modules_forge", "ldm", "sgm", "backend", "ldm_patched", "tomesd", "hypertile")
"""Packages, besides a UNet's own, whose classes are in a UNet that nobody has changed."""
LORA = ("networks",)
"""Packages of the hosts' own that replace methods of torch's classes."""
FORWARDS = ("forward", "_forward")
EXTENSIONS = ("extensions", "extensions-builtin")
"""Folders of the hosts' extensions."""


class UnetLayers:
    """The blocks of a diffusion model that techniques need.

    :param unet: the diffusion model
    """

    def __init__(self, unet: nn.Module) -> None:
        self.unet = unet
        self._known: dict[tuple[LayerRange, ...], list[TransformerLayer]] = {}
        self._changes = Changes(unet)

    def select(self, ranges: tuple[LayerRange, ...]) -> list[TransformerLayer]:
        """Return the transformer blocks named by the ranges.

        :raises UnsupportedError: if the model has no such blocks
        """
        if ranges not in self._known:
            self.require_unet("perturbed attention")
            self._known[ranges] = select_layers(self.unet, ranges)
        return self._known[ranges]

    def require_for(self, active: Sequence[Stages], call: ModelCall) -> None:
        """Raise :class:`UnsupportedError` if a technique acts inside the UNet and the model is none; it names them all."""
        labels = [technique.label for technique in active if technique.works_in_unet(call)]
        if labels:
            self.require_unet(", ".join(labels))

    def require_unet(self, what: str) -> None:
        """Raise :class:`UnsupportedError` if the blocks of a model can't be reached (Flux, SD3)."""
        if not hasattr(self.unet, "output_blocks"):
            name = type(self.unet).__name__
            raise UnsupportedError(f"{what}: this model is not a Stable Diffusion UNet ({name}). Turn it off")

    def changed_by_others(self) -> tuple[str, ...]:
        """Return who has hooked, replaced or wrapped any module of the UNet, by name, besides the host and us.

        Such code may count calls, or know rows by their places or kinds; then only whole passes with the host's own rows are
        right. Asked in each call: extensions hook and replace in the middle of a pass too.
        """
        return self._changes.names()


class Changes:
    """Finds changes in one UNet. Its modules are listed anew where a block has another one; a look at them takes about 1 ms.

    :param unet: the diffusion model
    """

    def __init__(self, unet: nn.Module) -> None:
        self._unet = unet
        self._blocks: list[nn.Module] = []
        self._modules: list[nn.Module] = []
        self._classes: set[str] = set()

    def names(self) -> tuple[str, ...]:
        """Return who has changed the UNet, besides the host and us: folders of extensions, or else Python modules."""
        blocks = list(_blocks(self._unet))
        if blocks != self._blocks:
            self._blocks, self._modules = blocks, list(self._unet.modules())
            self._classes = _foreign_classes(self._modules, {kind.__module__ for kind in type(self._unet).__mro__})
        functions = {owner_of(function) for function in _attached(self._modules) if not _is_known(function)}
        return tuple(sorted(functions | self._classes))


def replaced_forward(module: nn.Module, name: str = "forward") -> Any:
    """Return a forward that was put on a module, ``None`` if it has none or only the method of its own class."""
    found = vars(module).get(name)
    return None if getattr(found, "__func__", None) is getattr(type(module), name, found) else found


def is_plain(unet: nn.Module, wrappers: tuple[str, ...] = ()) -> bool:
    """Return True if a UNet runs its class' own forward, not replaced on the instance (ControlNet, compilers) or the class.

    ControlNet leaves the method of the class on the instance, which is plain.

    :param wrappers: modules of the host that replace the class' forward
    """
    return not replaced_forward(unet) and type(unet).forward.__module__ in (type(unet).__module__, *wrappers)


def _blocks(unet: nn.Module) -> Iterator[nn.Module]:
    """Return the modules at which extensions replace others: blocks and their parts."""
    for part in unet.children():
        yield part
        for block in part.children():
            yield block
            yield from block.children()


def _attached(modules: list[nn.Module]) -> Iterator[Any]:
    """Return all hooks, and the forwards put on instances."""
    for module in modules:
        own = module.__dict__
        if own["_forward_pre_hooks"] or own["_forward_hooks"]:
            yield from (*own["_forward_pre_hooks"].values(), *own["_forward_hooks"].values())
        for name in FORWARDS:
            if name in own and replaced_forward(module, name) is not None:
                yield own[name]


def _foreign_classes(modules: list[nn.Module], own: set[str]) -> set[str]:
    """Return who has brought classes of their own into a UNet, or other forwards of its classes.

    :param own: the Python modules of the UNet's classes
    """

    def is_foreign(module: str) -> bool:
        return module not in own and _package(module) not in (*HOMES, *LORA)

    kinds = {type(module) for module in modules}
    methods = [getattr(kind, name, None) for kind in kinds for name in FORWARDS]
    return {_folder_of_module(kind.__module__) for kind in kinds if is_foreign(kind.__module__)} | {
        owner_of(method) for method in methods if method is not None and is_foreign(method.__module__)
    }


def _package(module: str) -> str:
    return module.partition(".")[0]


def _function(attached: Any) -> Any:
    """Return the function behind a bound method, a partial function, or an object that can be called."""
    while isinstance(attached, functools.partial):
        attached = attached.func
    attached = getattr(attached, "__func__", attached)
    return attached if hasattr(attached, "__globals__") else type(attached).__call__


def _is_known(attached: Any) -> bool:
    """Return True for code of ours or a host's; wrappers take the ``__module__`` of what they wrap, so that isn't asked."""
    name = getattr(_function(attached), "__globals__", {}).get("__name__", "")
    return name in KNOWN or _package(name) in KNOWN


def owner_of(attached: Any) -> str:
    """Return whose code a function or object is: the folder of an extension, or else a Python module."""
    function = _function(attached)
    path = getattr(getattr(function, "__code__", None), "co_filename", "")
    return _folder(path) or str(getattr(function, "__globals__", {}).get("__name__", type(attached).__module__))


def _folder_of_module(name: str) -> str:
    return _folder(str(getattr(sys.modules.get(name), "__file__", None) or "")) or name


def _folder(path: str) -> str:
    """Return the extension's folder in a path, empty if it is in none."""
    parts = PurePath(path).parts
    return next((inner for outer, inner in zip(parts, parts[1:]) if outer in EXTENSIONS), "")
