"""Model calls without the uncond rows, where at CFG scale 1 nobody looks at them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..attributes import InstanceAttribute
from .recorded_calls import first_rows


class CondOnly:
    """The calls of one denoiser call on A1111, which has the cond rows first: from when it is made until :meth:`detach`.

    What stands in the place of uncond is cond, as where the host itself leaves uncond out.

    :param model: what the denoiser calls
    :param rows: number of cond rows, one per image
    """

    def __init__(self, model: nn.Module, rows: int) -> None:
        self.rows = rows
        self._forward = model.forward
        self._outputs: list[Tensor] = []
        self._filled = 0
        self._attribute = InstanceAttribute(model, "forward", self._call)

    def detach(self) -> None:
        """Puts the model's forward back; harmless when called again."""
        self._attribute.restore()
        self._outputs.clear()

    def _call(self, *args: Any, **kwargs: Any) -> Tensor:
        rows = args[0].shape[0]
        take = min(rows, self.rows - sum(len(output) for output in self._outputs))
        if take:
            args, kwargs = first_rows((args, kwargs), take, rows)
            self._outputs.append(self._forward(*args, **kwargs))
        if take == rows:
            return self._outputs[-1]
        first, self._filled = self._filled, self._filled + rows - take
        uncond = torch.cat(self._outputs)[first : self._filled]
        return torch.cat([self._outputs[-1], uncond]) if take else uncond
