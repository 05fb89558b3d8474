"""Extra predictions on Forge that start where the main one reaches the first perturbed attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...sampling.stages import Perturbation
from ..tail import Features, Tail, chosen_rows, is_plain, parts_of, tail_start
from ..unet_layers import UnetLayers
from .attention import UNCOND, AttentionPatches, Chosen

OTHER_WAYS = ("block_modifiers", "block_inner_modifiers", "group_norm_wrapper")
"""Transformer options by which other code changes what runs between the blocks."""
OTHER_PATCHES = ("input_block_patch", "input_block_patch_after_skip", "output_block_patch", "attn1_patch", "attn1_output_patch")
"""Patches that may change features in place, or mix rows."""


class ForgeTail(Tail):
    """The tail on Forge, whose calls give the kind of their rows in the transformer options.

    :param changes: the changes in each prediction, by the technique's name
    """

    def __init__(self, unet: UnetLayers, changes: dict[str, Perturbation], start: int) -> None:
        super().__init__(unet, changes, start)
        self._patches = {
            name: AttentionPatches(unet, change, _part(place, len(changes)))
            for place, (name, change) in enumerate(changes.items())
        }

    def end_main_prediction(self, prompts: int) -> bool:
        """Stop listening, and return True if the main prediction went through the UNet as expected.

        :param prompts: number of prompts joined by AND
        """
        self._listener.detach()
        return len(self._outputs.answers) == prompts and is_plain(self._unet)

    def predictions(self, predict: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return Forge's predictions for the conditional rows, by the technique's name.

        :raises UnsupportedError: if a perturbed layer didn't run
        """
        found = super().predictions(predict)
        for patches in self._patches.values():
            patches.require_ran()
        return found

    def _forward(self, *args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> Tensor:
        """Replace the UNet's forward: each prompt joined by AND has its own output."""
        return self._outputs.take(len(transformer_options["cond_or_uncond"]))

    def _run_tail(self, features: Features) -> None:
        """Return all perturbed predictions of a call's conditional rows; its options give the kind of each equal part."""
        options = features.rest[2]
        kinds = options["cond_or_uncond"]
        self._outputs.rows.append(features.rows)
        cond = [part for part, kind in zip(parts_of(features.rows, len(kinds)), kinds) if kind != UNCOND]
        if not cond:
            return
        count = len(self._patches)
        output = self._tail(features, cond * count, self._options(options, features, len(cond) * count))
        prompts = [part.chunk(len(cond)) for part in output.chunk(count)]
        self._outputs.answers += [tuple(answers) for answers in zip(*prompts)]

    def _options(self, given: dict[str, Any], features: Features, parts: int) -> dict[str, Any]:
        """Return the options of the tail's call, in which all rows are conditional."""
        rows = features.rows // len(given["cond_or_uncond"]) * parts
        marks = torch.zeros(rows, device=features.h.device, dtype=given["sigmas"].dtype)
        kinds = {"cond_mark": marks, "cond_indices": list(range(rows)), "uncond_indices": [], "cond_or_uncond": [0] * parts}
        shape = [rows, *given["original_shape"][1:]]
        options = {**given, **kinds, "original_shape": shape, "transformer_index": self._transformer_index()}
        for patches in self._patches.values():
            options = patches.added_to(options)
        return options

    def _transformer_index(self) -> int:
        """Return Forge's index of the next transformer, after those that the tail skips."""
        blocks = [*self._unet.input_blocks, self._unet.middle_block, *self._unet.output_blocks]
        skipped = blocks[: len(self._unet.input_blocks) + self._start]
        return sum(hasattr(layer, "transformer_blocks") for block in skipped for layer in block)

    def _tail(self, features: Features, parts: list[slice], options: dict[str, Any]) -> Tensor:
        def cut(value: Any) -> Any:
            return chosen_rows(value, parts, features.rows)

        unet, skips, h, (emb, context) = self._unet, features.skips, cut(features.h), cut(features.rest[:2])
        if self._start == 0:
            h = unet.middle_block(h, emb, context, {**options, "block": ("middle", 0)})
        for number in range(max(self._start - 1, 0), len(unet.output_blocks)):
            here = {**options, "block": ("output", number)}
            skip, later = cut(skips[-1 - number]), skips[: len(skips) - 1 - number]
            for patch in options["patches"].get("output_block_patch", ()):
                h, skip = patch(h, skip, here)
            size = later[-1].shape if later else None
            h = unet.output_blocks[number](torch.cat([h, skip], dim=1), emb, context, here, size)
        return unet.out(h).type(features.dtype)


def forge_tail(unet: UnetLayers, changes: dict[str, Perturbation], edits_skips: bool) -> ForgeTail | None:
    """Return a tail if it can be used; else the conditional rows go through the whole UNet again.

    :param edits_skips: true if a technique edits decoder features
    """
    start = tail_start(unet, list(changes.values()), edits_skips) if changes and is_plain(unet.unet) else None
    return None if start is None else ForgeTail(unet, changes, start)


def is_shareable(options: dict[str, Any], cond: list[dict[str, Any]], ours: list[Callable[..., Any]]) -> bool:
    """Return True if no other code changes the UNet in a way that the tail can't repeat.

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


def _part(place: int, count: int) -> Chosen:
    return lambda rows, kinds: [list(parts_of(rows, count))[place]]
