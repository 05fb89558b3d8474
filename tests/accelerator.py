"""A stand-in for a GPU: tensors of another device than the CPU's, with the manners of real ones.

* Tensors of different devices don't meet: an operation on both raises, as on every GPU.
* Float64 raises, as on MPS, DirectML and XPU.
* Reading a value waits for the device; waits are counted.

Inside :func:`accelerator` what is made on :data:`DEVICE` is such a tensor, with its data kept on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode


class _Backend(backend_registration._DummyBackendModule):
    """Functions that torch asks of a kind of device: this one has no random numbers of its own."""

    def device_count(self) -> int:
        return 0


backend_registration._setup_privateuseone_for_python_backend("standin", _Backend())
DEVICE = torch.device("standin:0")
READS_A_VALUE = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default, torch.ops.aten.is_nonzero.default}
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class DeviceTensor(torch.Tensor):
    """A tensor that says it is on :data:`DEVICE`; ``kept`` has its values."""

    kept: Tensor

    @staticmethod
    def __new__(cls, kept: Tensor) -> DeviceTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, kept.size(), strides=kept.stride(), storage_offset=kept.storage_offset(), dtype=kept.dtype, device=DEVICE
        )
        made.kept = kept
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        raise RuntimeError(f"{function} on {DEVICE}, whose context has ended")


class _Device(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        given = list(_tensors((*args, *kwargs.values())))
        here = [value for value in given if isinstance(value, DeviceTensor)]
        asked = kwargs.get("device")
        lands_here = bool(here) if asked is None else torch.device(asked).type == DEVICE.type
        if not here and not lands_here:
            return function(*args, **kwargs)
        self._check(function, given, here, lands_here)
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        result = function(*_mapped(_kept, args), **{name: _mapped(_kept, value) for name, value in kwargs.items()})
        if not lands_here:
            return result
        originals = {id(value.kept): value for value in here}  # operations in place give the same object
        return _mapped(lambda value: _on_device(value, originals, function), result)

    def _check(self, function: Any, given: list[Tensor], here: list[DeviceTensor], lands_here: bool) -> None:
        if function in READS_A_VALUE or (function in COPIES and here and not lands_here):
            self.waits += 1
        if function in COPIES:
            return
        others = [value for value in given if not isinstance(value, DeviceTensor) and value.ndim]
        if here and others:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! ({function})"
            )


class _Literals(TorchFunctionMode):
    """Makes tensors of numbers on the CPU first: torch fills them behind the dispatcher."""

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        asked = kwargs.get("device")
        if function in (torch.tensor, torch.as_tensor) and asked is not None and torch.device(asked).type == DEVICE.type:
            return function(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        if function is torch.Tensor.__getitem__ and isinstance(args[1], list) and isinstance(args[0], DeviceTensor):
            return function(args[0], torch.tensor(args[1]).to(DEVICE))
        return function(*args, **kwargs)


def _tensors(values: list | tuple) -> Iterator[Tensor]:
    """Return all tensors of an operation's arguments, which are lists at most (torch's own walk takes ten times longer)."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """Return a value changed, or the list or tuple of what its values are changed to."""
    return type(value)([_mapped(change, item) for item in value]) if type(value) in (list, tuple) else change(value)


def _kept(value: Any) -> Any:
    return value.kept if isinstance(value, DeviceTensor) else value


def _on_device(value: Any, originals: dict[int, DeviceTensor], function: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.dtype in (torch.float64, torch.complex128):
        raise TypeError(f"Cannot convert a tensor to float64, as {DEVICE} doesn't support it ({function})")
    return originals.get(id(value)) if id(value) in originals else DeviceTensor(value)


@contextmanager
def accelerator() -> Iterator[_Device]:
    """Return the device for a while; its ``waits`` count the times that a value was read from it."""
    with _Literals(), _Device() as device:
        yield device


def to_device(module: torch.nn.Module) -> torch.nn.Module:
    """Move a module's parameters and buffers to the device, in place."""
    with accelerator():
        for owner in module.modules():
            for name, value in owner._parameters.items():
                if value is not None:
                    owner._parameters[name] = torch.nn.Parameter(DeviceTensor(value.detach()), requires_grad=False)
            for name, value in owner._buffers.items():
                if value is not None:
                    owner._buffers[name] = DeviceTensor(value.float() if value.dtype == torch.float64 else value)
    return module


def from_device(value: Any) -> Any:
    """Return a tensor's values on the CPU."""
    return _kept(value)
