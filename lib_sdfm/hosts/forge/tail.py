"""Extra predictions on Forge that start where the main one reaches the first perturbed attention."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...sampling.stages import Perturbation
from ..run import Together
from ..tail import Features, Tail, chosen_rows, in_the_tail, parts_of, tail_start
from ..unet_layers import UnetLayers, is_plain, owner_of
from .attention import AttentionPatches
from .rows import COND, UNCOND

OTHER_WAYS = ("block_modifiers", "block_inner_modifiers", "group_norm_wrapper", "wrappers")
"""Transformer options, reForge's too, by which other code changes what runs between the blocks."""
OTHER_PATCHES = ("input_block_patch", "input_block_patch_after_skip", "output_block_patch", "attn1_patch", "attn1_output_patch")
"""Patches that may change features in place, or mix rows."""


class ForgeTail(Tail):
    """The tail on Forge, whose calls give the kind of their rows in the transformer options.

    :param changes: the changes in each prediction, by the technique's name
    :param together: decides if all rows run together
    """

    def __init__(self, unet: UnetLayers, changes: dict[str, Perturbation], start: int, together: Together) -> None:
        super().__init__(unet, changes, start, together)
        self._changes = changes
        self._patches: list[AttentionPatches] = []

    def end_main_prediction(self, prompts: int) -> bool:
        """Give the UNet its forward back, and return True if the main prediction went through it as expected.

        :param prompts: number of prompts joined by AND
        """
        self.detach()
        return len(self._outputs.answers) == prompts and is_plain(self._unet)

    def predictions(self, predict: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return Forge's predictions for the conditional rows, by the technique's name.

        :raises UnsupportedError: if a perturbed layer didn't run
        """
        found = super().predictions(predict)
        for patches in self._patches:
            patches.require_ran()
        return found

    def _answer(self, *args: Any, transformer_options: dict[str, Any], **kwargs: Any) -> Tensor:
        """Replace the UNet's forward: each prompt joined by AND has its own output."""
        return self._outputs.take(len(transformer_options["cond_or_uncond"]))

    def _cond_parts(self, rows: int, kwargs: dict[str, Any]) -> list[slice]:
        kinds = kwargs["transformer_options"]["cond_or_uncond"]
        return [part for part, kind in zip(parts_of(rows, len(kinds)), kinds) if kind != UNCOND]

    def _run(self, features: Features, own: int, parts: list[slice]) -> Tensor:
        def cut(value: Any) -> Any:
            return chosen_rows(value, parts, features.rows)

        unet, h, (emb, context) = self._unet, cut(features.h), cut(features.rest[:2])
        skips = features.skips_from(self._start, last=own == h.shape[0])
        options = self._options(features, own, h.shape[0])
        if self._start == 0:
            options["block"] = ("middle", 0)
            h = unet.middle_block(h, emb, context, options)
        for number in range(max(self._start - 1, 0), len(unet.output_blocks)):
            options["block"] = ("output", number)
            skip = cut(skips.pop())
            for patch in options["patches"].get("output_block_patch", ()):
                h, skip = patch(h, skip, options)
            size = skips[-1].shape if skips else None
            h = torch.cat([h, skip], dim=1)
            del skip
            h = unet.output_blocks[number](h, emb, context, options, size)
        return unet.out(h).type(features.dtype)

    def _options(self, features: Features, own: int, rows: int) -> dict[str, Any]:
        """Return the options of a call of the tail, in which the host's own rows come first, and the others are conditional."""
        given = features.rest[2]
        kinds = given["cond_or_uncond"] if own else []
        perturbed = rows - own
        if not perturbed:
            return dict(given)
        conds = perturbed * len(given["cond_or_uncond"]) // features.rows
        options = {
            **given,
            "original_shape": [rows, *given["original_shape"][1:]],
            "cond_or_uncond": [*kinds, *[COND] * conds],
            **self._marks(given, own, rows),
        }
        self._patches = [
            AttentionPatches(self._layers, change, functools.partial(self._chosen, place))
            for place, change in enumerate(self._changes.values())
        ]
        for patches in self._patches:
            options = patches.added_to(options)
        return options

    def _marks(self, given: dict[str, Any], own: int, rows: int) -> dict[str, Any]:
        """Return Forge's other marks of the rows of a call of the tail."""
        marks = torch.zeros(rows - own, device=given["sigmas"].device, dtype=given["sigmas"].dtype)
        return {
            "cond_mark": torch.cat([given["cond_mark"], marks]) if own else marks,
            "cond_indices": [*(given["cond_indices"] if own else ()), *range(own, rows)],
            "uncond_indices": given["uncond_indices"] if own else [],
        }

    def _chosen(self, place: int, rows: int, kinds: list[int]) -> list[slice]:
        return [self._perturbed_part(place, rows)]


def forge_tail(
    unet: UnetLayers,
    changes: dict[str, Perturbation],
    edits_skips: bool,
    together: Together,
    kind: type[ForgeTail] = ForgeTail,
) -> ForgeTail | None:
    """Return a tail for the changes that leave the encoder as it is, ``None`` if there are none or its forward is replaced.

    :param edits_skips: true if a technique edits decoder features
    :param together: decides if all rows run together
    :param kind: the tail's class
    """
    changes = in_the_tail(unet, changes)
    start = tail_start(unet, list(changes.values()), edits_skips)
    if start is None or not is_plain(unet.unet):
        return None
    return kind(unet, changes, start, together)


def others_in(options: dict[str, Any], cond: list[dict[str, Any]], ours: list[Callable[..., Any]]) -> tuple[str, ...]:
    """Return who, by Forge's options, changes the UNet in a way that the tail can't repeat: see :class:`Changes`.

    :param options: Forge's options of the main prediction
    :param cond: the compiled cond, with its ControlNets
    :param ours: our own patches in the options
    """
    transformer = options.get("transformer_options", {})
    patches = transformer.get("patches", {})
    found = [patch for name in OTHER_PATCHES for patch in patches.get(name, ()) if patch not in ours]
    found += [function for name in OTHER_WAYS for function in _listed(transformer.get(name))]
    found += transformer.get("patches_replace", {}).get("attn1", {}).values()
    found += _listed(options.get("model_function_wrapper"))
    found += [part["control"] for part in cond if part.get("control") is not None]
    return tuple(sorted({owner_of(function) for function in found}))


def _listed(value: Any) -> list[Any]:
    """Return the functions in lists and dictionaries, at any depth."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [function for item in value for function in _listed(item)]
    return [] if value is None else [value]
