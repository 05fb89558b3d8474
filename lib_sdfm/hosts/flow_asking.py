"""Asking the loaded model what it predicts, for an empty prompt; it is called as it is by itself, past an edge."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..ops.flow_probe import IMAGES, Recognition, recognise
from .flow_edge import A1111Edge, edge_of

LATENT = (4, 64, 64)


@torch.no_grad()
def ask_a1111(model: Any, device: torch.device | str = "cpu", autocast: AbstractContextManager | None = None) -> Recognition:
    """Return what A1111's model predicts.

    :param device: on which the host samples; an idle model's weights may lie elsewhere (``--medvram``)
    :param autocast: in which the host calls it
    """
    edge = edge_of(model)
    apply = edge.predict if isinstance(edge, A1111Edge) else model.apply_model
    with autocast or nullcontext():
        cond = model.get_learned_conditioning([""])

        def predict(x: Tensor, times: Tensor) -> Tensor:
            return apply(x, times, _cond_of(cond, len(x), x))

        return recognise(predict, LATENT, device=device)


@torch.no_grad()
def ask_forge(model: Any, prepare: Callable[[Any, Tensor], None], cleanup: Callable[[Any], None]) -> Recognition:
    """What Forge's model predicts.

    :param prepare: the host's ``sampling_prepare``, which brings a UNet's weights to where they are used
    :param cleanup: the host's ``sampling_cleanup``
    """
    cond = model.get_learned_conditioning([""])
    parts = {"context": cond["crossattn"], "y": cond["vector"]} if isinstance(cond, dict) else {"context": cond}
    patcher = model.forge_objects.unet
    unet, dtype = patcher.model.diffusion_model, patcher.model.computation_dtype
    prepare(patcher, torch.zeros(IMAGES, *LATENT))

    def predict(x: Tensor, times: Tensor) -> Tensor:
        conds = {name: part.to(x.device, dtype).expand(len(x), *part.shape[1:]) for name, part in parts.items()}
        return unet(x.to(dtype), times.float(), control=None, transformer_options={}, **conds)

    try:
        return recognise(predict, LATENT, device=patcher.load_device)
    finally:
        cleanup(patcher)


def _cond_of(cond: Any, rows: int, x: Tensor) -> dict[str, Any]:
    """A1111's conditioning of a model call, one row for each latent."""
    repeat = {key: value.expand(rows, *value.shape[1:]) for key, value in cond.items()} if isinstance(cond, dict) else None
    no_picture = {"c_concat": [x.new_zeros(rows, 5, 1, 1)]}
    return {**(repeat or {"c_crossattn": [cond.expand(rows, *cond.shape[1:])]}), **no_picture}
