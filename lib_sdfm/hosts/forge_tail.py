"""Extra predictions on Forge that begin where the main one reaches the first perturbed attention.

Forge's own function predicts the cond rows again; in that the UNet's own forward is replaced by its tail. All
perturbations of the step run as one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..sampling.stages import Perturbation
from .attributes import InstanceAttribute
from .patches import UNCOND, AttentionPatches, Chosen
from .prefix import Features, PrefixRecorder, is_plain, joined, parts_of, tail_start
from .unet_layers import UnetLayers

OTHER_WAYS = ("block_modifiers", "block_inner_modifiers", "group_norm_wrapper")
"""Transformer options by which somebody changes what runs between the blocks."""
OTHER_PATCHES = ("input_block_patch", "input_block_patch_after_skip", "output_block_patch", "attn1_patch", "attn1_output_patch")
"""Patches that may change features in place, or mix rows."""


class ForgeTail:
    """The extra predictions of one denoiser call: attached before the main prediction, asked after it.

    :param unet: the diffusion model
    :param changes: what changes in each prediction, by the technique's name
    :param start: where the tail begins
    """

    def __init__(self, unet: UnetLayers, changes: dict[str, Perturbation], start: int) -> None:
        self._unet, self._start = unet.unet, start
        self._patches = {
            name: AttentionPatches(unet, change, _part(place, len(changes)))
            for place, (name, change) in enumerate(changes.items())
        }
        self._prefix = PrefixRecorder(self._unet, start)
        self._cond: list[Features] = []
        self._outputs: list[tuple[Tensor, ...]] = []
        self._part = self._next = self._used = 0

    def attach(self) -> None:
        """Keeps the main prediction's features from now on."""
        self._prefix.attach()

    def detach(self) -> None:
        """Removes everything and forgets what was kept; harmless when called again."""
        self._prefix.detach()
        self._prefix.forget()
        self._cond = []
        self._outputs = []

    def end_main_prediction(self) -> bool:
        """Keeps features no longer, and tells whether the main prediction went through the UNet as expected."""
        self._prefix.detach()
        rows = [call.rows for call in self._prefix.calls]
        if not rows or 0 in rows or not is_plain(self._unet) or not self._prefix.complete(rows):
            return False
        self._cond = [part for call in self._prefix.calls for part in _cond_parts(call)]
        return bool(self._cond)

    def predictions(self, predict: Callable[[], Tensor]) -> dict[str, Tensor]:
        """What Forge predicts for the cond rows, by the technique's name.

        :param predict: Forge's prediction of the cond rows
        """
        found: dict[str, Tensor] = {}
        forward = InstanceAttribute(self._unet, "forward", self._forward)
        try:
            for place, name in enumerate(self._patches):
                self._part, self._next = place, 0
                found[name] = predict()
        finally:
            forward.restore()
        for patches in self._patches.values():
            patches.require_ran()
        return found

    def _forward(self, x: Tensor, *args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> Tensor:
        """Stands in for the UNet's forward: the tail for all parts in the first round, what it gave in the others."""
        if self._next == len(self._outputs):
            count, kinds = len(self._patches), transformer_options["cond_or_uncond"]
            features = joined(self._cond[self._used : self._used + len(kinds)]).copies(0, x.shape[0], count)
            self._used += len(kinds)
            options = self._options(transformer_options, [x.shape[0] * count, *x.shape[1:]], list(kinds) * count)
            self._outputs.append(self._unet.out(self._tail(features, options)).type(x.dtype).chunk(count))
        self._next += 1
        return self._outputs[self._next - 1][self._part]

    def _options(self, given: dict[str, Any], shape: list[int], kinds: list[int]) -> dict[str, Any]:
        """The options of the tail's call: Forge sets most of these at the beginning of its own."""
        skipped = (*self._unet.input_blocks, *((self._unet.middle_block,) if self._start else ()))
        skipped = (*skipped, *list(self._unet.output_blocks)[: max(self._start - 1, 0)])
        index = sum(hasattr(layer, "transformer_blocks") for block in skipped for layer in block)
        marks = torch.zeros(shape[0], device=given["sigmas"].device, dtype=given["sigmas"].dtype)
        rows = {"cond_mark": marks, "cond_indices": list(range(shape[0])), "uncond_indices": []}
        options = {**given, **rows, "cond_or_uncond": kinds, "original_shape": shape, "transformer_index": index}
        for patches in self._patches.values():
            options = patches.added_to(options)
        return options

    def _tail(self, features: Features, options: dict[str, Any]) -> Tensor:
        unet, h, skips, (emb, context) = self._unet, features.h, features.skips, features.rest[:2]
        if self._start == 0:
            h = unet.middle_block(h, emb, context, {**options, "block": ("middle", 0)})
        for number in range(max(self._start - 1, 0), len(unet.output_blocks)):
            here = {**options, "block": ("output", number)}
            skip, later = skips[-1 - number], skips[: len(skips) - 1 - number]
            for patch in options["patches"].get("output_block_patch", ()):
                h, skip = patch(h, skip, here)
            size = later[-1].shape if later else None
            h = unet.output_blocks[number](torch.cat([h, skip], dim=1), emb, context, here, size)
        return h


def forge_tail(unet: UnetLayers, changes: dict[str, Perturbation], edits_skips: bool) -> ForgeTail | None:
    """A tail where it can be used; else the cond rows go through the whole UNet again.

    :param edits_skips: a technique edits decoder features
    """
    start = tail_start(unet, list(changes.values()), edits_skips) if changes and is_plain(unet.unet) else None
    return None if start is None else ForgeTail(unet, changes, start)


def is_shareable(options: dict[str, Any], cond: list[dict[str, Any]], ours: list[Callable[..., Any]]) -> bool:
    """Whether nobody else changes what happens in the UNet in a way that the tail doesn't know.

    :param options: Forge's options of the main prediction
    :param cond: the compiled cond, with its ControlNets
    :param ours: our own patches in the options
    """
    transformer = options.get("transformer_options", {})
    patches = transformer.get("patches", {})
    foreign = [patch for name in OTHER_PATCHES for patch in patches.get(name, ()) if patch not in ours]
    changed = "model_function_wrapper" in options or any(transformer.get(name) for name in OTHER_WAYS)
    mixed = bool(transformer.get("patches_replace", {}).get("attn1"))
    return not (foreign or changed or mixed or any(part.get("control") is not None for part in cond))


def _cond_parts(call: Features) -> list[Features]:
    """The features of each prompt that AND joins, from a call whose equal parts are of the kinds that its options tell."""
    kinds = call.rest[2]["cond_or_uncond"]
    size = call.rows // len(kinds)
    return [call.copies(i * size, (i + 1) * size, 1) for i, kind in enumerate(kinds) if kind != UNCOND]


def _part(place: int, count: int) -> Chosen:
    return lambda rows, kinds: [list(parts_of(rows, count))[place]]
