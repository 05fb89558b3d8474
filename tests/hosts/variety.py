"""How hosts differ from machine to machine and from checkpoint to checkpoint: one description, for every stand-in.

What is written down here has let faults pass where stand-ins didn't have it: conds that are dictionaries (SDXL), half weights
with autocast and without, modules that are sent away between their calls (A1111's ``--lowvram``), weights that nobody can
read (fp8, NF4), and a device that isn't the CPU and has no float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FunctionType
from typing import Any
from unittest.mock import patch

import k_diffusion.sampling as k_sampling
import torch
from torch import Tensor, nn

from demo.modules.conditions import ConditionDict, joined, rows_from
from tests.accelerator import DEVICE, accelerator, from_device, to_device
from tests.support import ADM, vector_of

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Variety:
    """One kind of host.

    :param sdxl: conds are dictionaries of tensors, and the UNet gets a vector besides the text
    :param dtype: of the UNet's weights and inputs
    :param autocast: everything runs inside autocast to ``dtype``; else the host converts what it gives to the UNet itself
    :param lowvram: each block of the UNet is brought in before it runs, and the one before it sent away
    :param stored: linear and convolution weights are kept in 8 bits, and can't be read
    :param device: ``cpu``, the stand-in for an accelerator, or a real one
    """

    sdxl: bool = False
    dtype: torch.dtype = torch.float32
    autocast: bool = False
    lowvram: bool = False
    stored: bool = False
    device: torch.device = CPU

    def prepare(self, unet: nn.Module) -> nn.Module:
        """Bring a UNet into the form in which this host has it, in place."""
        if self.stored:
            store_in_8_bits(unet, self.dtype)
        if self.dtype != torch.float32:
            for module in unet.modules():  # norms stay: these hosts compute them in float32
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(self.dtype)
                if not self.autocast and isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm):
                    module.register_forward_pre_hook(_cast_to_weight)
        if self.device == DEVICE:
            to_device(unet)
        elif self.device != CPU:
            unet.to(self.device)
        if self.lowvram:
            LowMemory(unet)
        return unet

    @contextmanager
    def running(self) -> Iterator[Any]:
        """Return a context in which the host samples; it gives the stand-in for an accelerator, which counts waits, if any."""
        kind = "cpu" if self.device == DEVICE else self.device.type
        cast = torch.autocast(kind, self.dtype) if self.autocast else nullcontext()
        if self.device == CPU:
            with cast:
                yield
            return
        device = accelerator() if self.device == DEVICE else nullcontext()
        with device as made, cast, patch.object(k_sampling, "to_d", lambda x, sigma, denoised: (x - denoised) / sigma):
            yield made  # the hosts have it so as well: noise levels stay on the CPU

    def conds(self, text: Tensor) -> Any:
        """Return the conditioning of rows of texts ``(rows, tokens, channels)``."""
        text = self.placed(text)
        return ConditionDict(crossattn=text, vector=vector_of(text)) if self.sdxl else text

    def placed(self, value: Any) -> Any:
        """Return a tensor on the device."""
        return value.to(self.device) if isinstance(value, Tensor) and self.device != CPU else value

    def taken(self, value: Tensor) -> Tensor:
        """Return a tensor on the CPU."""
        return from_device(value).cpu()

    def call(self, unet: nn.Module, x: Tensor, timesteps: Tensor, **conds: Any) -> Tensor:
        """Return what the UNet gives, called in its own type."""
        given = {name: _in_type(value, self.dtype) for name, value in conds.items() if value is not None}
        output = unet(x.to(self.dtype), timesteps.to(self.dtype if self.autocast else torch.float32), **given)
        return output if self.autocast else output.float()


def _in_type(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, list):
        return [_in_type(item, dtype) for item in value]
    return value.to(dtype) if isinstance(value, Tensor) else value


def _cast_to_weight(module: nn.Module, args: tuple) -> tuple:
    """Convert what a layer is given to the type of its weights, as hosts without autocast do."""
    return (args[0].to(module.weight.dtype), *args[1:])


def written_in(module: str, function: FunctionType) -> FunctionType:
    """Return a function as if its text stood in another module."""
    return FunctionType(function.__code__, {**function.__globals__, "__name__": module}, closure=function.__closure__)


class LowMemory:
    """Sends each tracked module of a UNet away before the next one runs; away, its parameters have no values.

    As A1111's ``--lowvram`` does by hooks: a module that runs without having been called as one fails.
    """

    def __init__(self, unet: nn.Module) -> None:
        self._present: nn.Module | None = None
        self._kept: dict[nn.Module, list[tuple[nn.Module, str, nn.Parameter]]] = {}
        hook = written_in("modules.lowvram", lambda module, args: self._bring(module, args))
        for module in (unet.time_embed, *unet.input_blocks, unet.middle_block, *unet.output_blocks):
            module.register_forward_pre_hook(hook)
            self._send_away(module)

    def _bring(self, module: nn.Module, args: tuple) -> None:
        if self._present is module:
            return
        if self._present is not None:
            self._send_away(self._present)
        for owner, name, parameter in self._kept.pop(module):
            owner._parameters[name] = parameter
        self._present = module

    def _send_away(self, module: nn.Module) -> None:
        found = [(owner, name, p) for owner in module.modules() for name, p in owner._parameters.items() if p is not None]
        for owner, name, parameter in found:
            owner._parameters[name] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
        self._kept[module] = found


class StoredWeights(nn.Module):
    """A linear or convolution layer whose weights are kept in 8 bits, as fp8 and NF4 checkpoints have them.

    :param layer: the layer that it replaces
    :param dtype: in which it computes
    """

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        object.__setattr__(self, "_layer", layer)  # not a submodule: nobody walks to its weights
        layer.weight.data = layer.weight.data.to(torch.float8_e4m3fn).to(dtype)
        for name in ("out_channels", "in_channels", "out_features", "in_features"):
            if hasattr(layer, name):
                setattr(self, name, getattr(layer, name))
        self._dtype = dtype

    @property
    def weight(self) -> Tensor:
        raise AssertionError("weights in 8 bits have no meaning outside of their layer: call it as a module")

    def forward(self, x: Tensor) -> Tensor:
        return self._layer.to(self._dtype)(x.to(self._dtype))


def store_in_8_bits(unet: nn.Module, dtype: torch.dtype) -> None:
    """Replace a UNet's linear and convolution layers inside its blocks."""
    for block in (*unet.input_blocks, unet.middle_block, *unet.output_blocks):
        for owner in list(block.modules()):
            for name, layer in list(owner.named_children()):
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    setattr(owner, name, StoredWeights(layer, dtype))


HALF = torch.bfloat16  # the half type that CPUs compute in
VARIETIES = {
    "SD1": Variety(),
    "SDXL": Variety(sdxl=True),
    "SD1 autocast": Variety(dtype=HALF, autocast=True),
    "SDXL autocast": Variety(sdxl=True, dtype=HALF, autocast=True),
    "SDXL autocast float16": Variety(sdxl=True, dtype=torch.float16, autocast=True),
    "SDXL half": Variety(sdxl=True, dtype=HALF),
    "SDXL stored in 8 bits": Variety(sdxl=True, dtype=HALF, stored=True),
    "SD1 lowvram": Variety(lowvram=True),
    "SDXL lowvram": Variety(sdxl=True, lowvram=True),
    "SD1 accelerator": Variety(device=DEVICE),
    "SDXL accelerator": Variety(sdxl=True, device=DEVICE),
}
"""By name; tests go through all of them."""
__all__ = ["ADM", "VARIETIES", "ConditionDict", "Variety", "joined", "rows_from"]
