"""Lookup of a UNet's transformer blocks, done once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from torch import nn

from ..errors import UnsupportedError
from ..sampling.layers import LayerRange, TransformerLayer, select_layers
from ..sampling.model_call import ModelCall
from ..sampling.stages import Stages

KNOWN = ("lib_sdfm", "modules.lowvram", "tomesd", "hypertile")
"""Modules whose hooks and forwards are ours or the hosts' own: they do the same for each row, in any number of rows."""


class UnetLayers:
    """The blocks of a diffusion model that techniques need.

    :param unet: the diffusion model
    """

    def __init__(self, unet: nn.Module) -> None:
        self.unet = unet
        self._known: dict[tuple[LayerRange, ...], list[TransformerLayer]] = {}

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
            raise UnsupportedError(f"{what}: this model is no Stable Diffusion UNet ({name}). Switch it off")

    @cached_property
    def changed_by_others(self) -> bool:
        """True if someone else has hooked or replaced the forward of the UNet, a block, a transformer block or its attention.

        Such code may count calls, or know rows by their places; then only whole passes of the host's own rows are right.
        """
        return any(_is_changed(module) for module in _places(self.unet))


def replaced_forward(module: nn.Module) -> Any:
    """Return a forward that was put on a module, ``None`` if it has none or only the method of its own class."""
    found = vars(module).get("forward")
    return None if getattr(found, "__func__", None) is type(module).forward else found


def _places(unet: nn.Module) -> Iterator[nn.Module]:
    yield unet
    for block in (*unet.input_blocks, unet.middle_block, *unet.output_blocks):
        yield block
        for module in block.modules():
            if hasattr(module, "transformer_blocks"):
                yield module
            if hasattr(module, "attn1"):
                yield from (module, module.attn1, module.attn2)


def _is_changed(module: nn.Module) -> bool:
    found = [*module._forward_pre_hooks.values(), *module._forward_hooks.values(), replaced_forward(module)]
    return any(function is not None and _home(function) not in KNOWN for function in found)


def _home(function: Any) -> str:
    """Return the package or module in which a function was written; wrappers take the ``__module__`` of what they wrap."""
    names = getattr(getattr(function, "__func__", function), "__globals__", {})
    name = names.get("__name__", "")
    return name if name in KNOWN else name.partition(".")[0]
