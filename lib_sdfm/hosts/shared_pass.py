"""Extra predictions on AUTOMATIC1111 that begin where the main one reaches the first perturbed attention.

The model calls of the cond rows are made again, so that everything around the UNet is the host's; in these the UNet's own
forward is replaced by its tail. All perturbations of the step run as one batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..sampling.stages import Perturbation
from .attention import PerturbedAttention
from .attributes import InstanceAttribute
from .calls import CallRecorder
from .prefix import Features, PrefixRecorder, is_plain, parts_of, tail_start
from .unet_layers import UnetLayers

HOST_FORWARD = ("modules.sd_unet",)
"""A1111's own replacement of the UNet classes' forward."""
HOST_CAT = "modules.sd_hijack_unet"
"""Where A1111's ``th.cat`` of the UNet's module comes from, which fits features to the skips' size."""

Cat = Callable[..., Tensor]


class SharedPass:
    """The extra predictions of one denoiser call: attached before the main prediction, asked after it.

    :param unet: the diffusion model
    :param changes: what changes in each prediction, by the technique's name
    :param start: where the tail begins
    :param cat: what the UNet joins features and skips with
    """

    def __init__(self, unet: UnetLayers, changes: dict[str, Perturbation], start: int, cat: Cat) -> None:
        self._layers, self._unet = unet, unet.unet
        self._changes, self._start, self._cat = changes, start, cat
        self._prefix = PrefixRecorder(self._unet, start)
        self._outputs: list[tuple[Tensor, ...]] = []
        self._part = self._next = 0

    def attach(self) -> None:
        """Keeps the main prediction's features from now on."""
        self._prefix.attach()

    def detach(self) -> None:
        """Removes everything, harmless when called again."""
        self._prefix.detach()

    def possible(self, rows: list[int]) -> bool:
        """Whether the main prediction went through the UNet as expected: call by call, block by block.

        :param rows: rows of each model call of the main prediction
        """
        return is_plain(self._unet, HOST_FORWARD) and self._prefix.complete(rows)

    def predictions(self, model: CallRecorder, rows: int) -> dict[str, Tensor]:
        """The model's answers for the first ``rows`` rows of the main prediction, by the technique's name."""
        found: dict[str, Tensor] = {}
        count = len(self._changes)
        with ExitStack() as attached:
            for place, change in enumerate(self._changes.values()):
                part = _part_function(place, count)
                attached.enter_context(PerturbedAttention(self._layers, change, part))
            forward = InstanceAttribute(self._unet, "forward", self._forward)
            attached.callback(forward.restore)
            for place, name in enumerate(self._changes):
                self._part, self._next = place, 0
                found[name] = model.replay(rows)
        self._outputs.clear()
        self._prefix.forget()
        return found

    def _forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Stands in for the UNet's forward: the tail for all parts in the first round, what it gave in the others."""
        if self._next == len(self._outputs):
            features = self._prefix.calls[self._next].copies(0, x.shape[0], len(self._changes))
            output = self._unet.out(self._tail(features).type(x.dtype))
            self._outputs.append(output.chunk(len(self._changes)))
        self._next += 1
        return self._outputs[self._next - 1][self._part]

    def _tail(self, features: Features) -> Tensor:
        h = features.h
        if self._start == 0:
            h = self._unet.middle_block(h, *features.rest)
        for block, skip in list(zip(self._unet.output_blocks, reversed(features.skips)))[max(self._start - 1, 0) :]:
            h = block(self._cat([h, skip], dim=1), *features.rest)
        return h


def _part_function(place: int, count: int) -> Callable[[int], slice]:
    return lambda rows: list(parts_of(rows, count))[place]


def shared_pass(unet: UnetLayers, changes: dict[str, Perturbation], edits_skips: bool) -> SharedPass | None:
    """A shared pass where it can be used; else the cond rows go through the whole UNet again.

    :param edits_skips: a technique edits decoder features
    """
    start = tail_start(unet, list(changes.values()), edits_skips) if changes else None
    cat = _cat_of(unet.unet)
    if start is None or cat is None or not is_plain(unet.unet, HOST_FORWARD):
        return None
    return SharedPass(unet, changes, start, cat)


def _cat_of(unet: nn.Module) -> Cat | None:
    """What the UNet's module joins features with, if it is torch's or A1111's own; the old FreeU replaces it, say."""
    cat = getattr(getattr(sys.modules[type(unet).__module__], "th", torch), "cat", None)
    return cat if cat is torch.cat or getattr(cat, "__module__", None) == HOST_CAT else None
