"""Asking the loaded model of A1111 what it predicts, for an empty prompt."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..ops.flow_probe import Recognition, recognise
from .flow_edge import A1111Edge, edge_of

LATENT = (4, 64, 64)


@torch.no_grad()
def ask_a1111(model: Any, autocast: AbstractContextManager | None = None) -> Recognition:
    """What A1111's model predicts; it is called as it is by itself, past an edge.

    :param autocast: in which the host calls it
    """
    edge = edge_of(model)
    apply = edge.predict if isinstance(edge, A1111Edge) else model.apply_model
    with autocast or nullcontext():
        cond = model.get_learned_conditioning([""])

        def predict(x: Tensor, times: Tensor) -> Tensor:
            return apply(x, times, _cond_of(cond, len(x), x))

        return recognise(predict, LATENT, device=next(model.model.diffusion_model.parameters()).device)


def _cond_of(cond: Any, rows: int, x: Tensor) -> dict[str, Any]:
    """The host's conditioning of a model call, one row for each latent."""
    repeat = {key: value.expand(rows, *value.shape[1:]) for key, value in cond.items()} if isinstance(cond, dict) else None
    no_picture = {"c_concat": [x.new_zeros(rows, 5, 1, 1)]}
    return {**(repeat or {"c_crossattn": [cond.expand(rows, *cond.shape[1:])]}), **no_picture}
