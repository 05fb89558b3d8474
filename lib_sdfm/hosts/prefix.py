"""The shared prefix: what the main prediction has computed before the first perturbed attention.

Up to there a perturbed prediction of the cond rows equals the main one: same latent, same time, same text. So it can begin
at that place, the middle block or a decoder block, with the features that the main prediction had there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..sampling.stages import Perturbation
from .unet_layers import UnetLayers

Tail = Callable[["Features"], Tensor]
"""Runs the UNet from where features end, to its output."""


@dataclass
class Features:
    """What one call of a UNet had computed where its tail begins.

    :param h: backbone features, ``(rows, C, H, W)``
    :param skips: what the input blocks gave, in their order
    :param rest: the other arguments of the block that comes next: time embedding, context
    """

    h: Tensor | None = None
    skips: list[Tensor] = field(default_factory=list)
    rest: tuple = ()

    @property
    def rows(self) -> int:
        return 0 if self.h is None else self.h.shape[0]

    def copies(self, first: int, last: int, count: int) -> Features:
        """Rows ``first`` to ``last`` (excluded), ``count`` times over; no copy is made of one."""

        def cut(value: Any) -> Any:
            part = _rows_of(value, first, last, self.rows)
            return part if count == 1 else _repeated(part, count, last - first)

        return Features(cut(self.h), [cut(skip) for skip in self.skips], cut(self.rest))


def _rows_of(value: Any, first: int, last: int, rows: int) -> Any:
    if isinstance(value, Tensor):
        return value[first:last] if value.ndim and value.shape[0] == rows else value
    return type(value)(_rows_of(item, first, last, rows) for item in value) if isinstance(value, list | tuple) else value


def _repeated(value: Any, count: int, rows: int) -> Any:
    if isinstance(value, Tensor):
        return torch.cat([value] * count) if value.ndim and value.shape[0] == rows else value
    return type(value)(_repeated(item, count, rows) for item in value) if isinstance(value, list | tuple) else value


def joined(parts: list[Features]) -> Features:
    """Features of several calls as those of one."""
    if len(parts) == 1:
        return parts[0]
    skips = [torch.cat(same) for same in zip(*(part.skips for part in parts))]
    return Features(torch.cat([part.h for part in parts]), skips, tuple(map(_joined_rest, zip(*(p.rest for p in parts)))))


def _joined_rest(values: tuple) -> Any:
    if isinstance(values[0], Tensor):
        return torch.cat(values)
    if isinstance(values[0], list):
        return [torch.cat(same) for same in zip(*values)]
    return values[0]


class PrefixRecorder:
    """Keeps the features of a UNet's calls by hooks, from :meth:`attach` to :meth:`detach`. References, no copies.

    :param unet: an LDM, SGM or Forge UNet
    :param start: where the tail begins: 0 is the middle block, ``n`` the decoder block ``n - 1``
    """

    def __init__(self, unet: nn.Module, start: int) -> None:
        self.unet, self.start = unet, start
        self.calls: list[Features] = []
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Sets the hooks."""
        first, *others = self.unet.input_blocks
        self._handles.append(first.register_forward_hook(self._begin))
        self._handles += [block.register_forward_hook(self._keep_skip) for block in others]
        if self.start == 0:
            self._handles.append(self.unet.middle_block.register_forward_pre_hook(self._keep_input))
        else:
            before = (self.unet.middle_block, *self.unet.output_blocks)[self.start - 1]
            self._handles.append(before.register_forward_hook(self._keep_output))

    def detach(self) -> None:
        """Removes the hooks; what was kept stays until :meth:`forget`."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def forget(self) -> None:
        """Drops what was kept."""
        self.calls = []

    def complete(self, rows: list[int]) -> bool:
        """Whether the UNet was called just as often as the model, for as many rows, through all of its blocks.

        :param rows: rows of each of the model's calls
        """
        blocks = len(self.unet.input_blocks)
        return [call.rows for call in self.calls] == rows and all(len(call.skips) == blocks for call in self.calls)

    def _begin(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self.calls.append(Features(skips=[output]))

    def _keep_skip(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        if self.calls:
            self.calls[-1].skips.append(output)

    def _keep_input(self, module: nn.Module, args: tuple) -> None:
        if self.calls:
            self.calls[-1].h, self.calls[-1].rest = args[0], args[1:]

    def _keep_output(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        if self.calls:
            self.calls[-1].h, self.calls[-1].rest = output, args[1:]


def tail_start(unet: UnetLayers, perturbations: list[Perturbation], edits_skips: bool) -> int | None:
    """Where the tail of perturbed predictions begins (see :class:`PrefixRecorder`); ``None`` if an input block is perturbed.

    :param edits_skips: decoder features are edited: then the whole decoder runs again, as an edit may look at the block before
    """
    places = [_place(layer.section, layer.block) for p in perturbations for layer in unet.select(p.layers)]
    if None in places or not places:
        return None
    return 0 if edits_skips else min(places)


def _place(section: str, block: int) -> int | None:
    return {"input": None, "middle": 0, "output": block + 1}[section]


def is_plain(unet: nn.Module, wrappers: tuple[str, ...] = ()) -> bool:
    """Whether a UNet runs its class' own forward: nobody replaced it on the instance (ControlNet, compilers) or the class.

    :param wrappers: modules whose replacement of the class' forward is the host's own
    """
    return "forward" not in vars(unet) and type(unet).forward.__module__ in (type(unet).__module__, *wrappers)


def parts_of(rows: int, count: int) -> Iterator[slice]:
    """The rows of each of ``count`` equal parts."""
    size = rows // count
    return (slice(i * size, (i + 1) * size) for i in range(count))
