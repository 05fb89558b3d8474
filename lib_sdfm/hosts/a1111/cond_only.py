"""Model calls without the unconditional rows, for CFG scale 1, where they are not used."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..attributes import InstanceAttribute
from .recorded_calls import first_rows


class CondOnly:
    """Model calls of one denoiser call, without unconditional rows, from construction until :meth:`detach`.

    A1111 puts the conditional rows first. As where the host itself skips the unconditional rows, copies of the conditional
    ones take their place.

    :param model: the model that the denoiser calls
    :param rows: number of conditional rows, one per image
    """

    def __init__(self, model: nn.Module, rows: int) -> None:
        self.rows = rows
        self._forward = model.forward
        self._outputs: list[Tensor] = []
        self._filled = 0
        self._detached = False
        self._attribute = InstanceAttribute(model, "forward", self._call)

    def detach(self) -> None:
        """Restore the model's forward, also for a call that has begun; may be called again."""
        self._detached = True
        self._attribute.restore()
        self._outputs.clear()

    def _call(self, *args: Any, **kwargs: Any) -> Tensor:
        if self._detached:
            return self._forward(*args, **kwargs)
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
