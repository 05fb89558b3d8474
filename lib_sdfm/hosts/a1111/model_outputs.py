"""Changes that other extensions make to the model's outputs before CFG: by A1111's ``on_cfg_denoised``, or around CFG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import UnsupportedError
from ..run import RandomState, alike
from .recorded_calls import CallRecorder


@dataclass(frozen=True)
class DenoisedCallbacks:
    """The host's callbacks ``on_cfg_denoised``.

    :param names: returns who has registered one
    :param call: calls them with the outputs of all rows, ``(rows, C, H, W)``, which they change in place, and with the model
    """

    names: Callable[[], tuple[str, ...]] = lambda: ()
    call: Callable[[Tensor, Any], None] = lambda outputs, model: None


class ModelOutputs:
    """The model's outputs of one pass, as they were and as others have changed them.

    Regional Prompter's latent mode, for example, puts each prompt's rows into the prompt's region and takes the unconditional
    ones elsewhere. Perturbed predictions have to be treated alike, or they would be compared with another region.

    :param recorder: keeps the outputs of the current call
    :param callbacks: the host's
    """

    def __init__(self, recorder: CallRecorder, callbacks: DenoisedCallbacks) -> None:
        self._recorder, self._callbacks = recorder, callbacks
        self.names: tuple[str, ...] = ()

    def begin(self, wrapped_by: tuple[str, ...]) -> bool:
        """Return True if somebody may change the outputs of the call that begins.

        :param wrapped_by: who has put something around our combination
        """
        self.names = (*self._callbacks.names(), *wrapped_by)
        return bool(self.names)

    def changed_alike(self, predictions: dict[str, Tensor], x_out: Tensor, conds_list: list, labels: str) -> dict[str, Tensor]:
        """Return perturbed predictions with the changes that others have made to the main one.

        The main outputs go through the callbacks last: an extension that keeps something of what it sees keeps theirs.

        :param predictions: the conditional rows, ``(N, C, H, W)``, by the technique's name
        :param x_out: outputs of all rows, after the changes
        :param conds_list: the host's (row, weight) of the prompts, per image
        :param labels: the techniques that perturb
        :raises UnsupportedError: if the callbacks don't make ``x_out`` of the model's outputs
        """
        if not self.names or not predictions:
            return predictions
        outputs = self._outputs(len(x_out), conds_list).to(x_out.dtype)
        if torch.equal(outputs, x_out):
            return predictions
        random = RandomState(x_out.device)
        changed = {name: self._changed(outputs, rows)[: len(rows)] for name, rows in predictions.items()}
        again = self._changed(outputs, outputs)
        random.restore()
        if again.shape != x_out.shape or not alike(again, x_out):
            raise UnsupportedError(
                f"{labels}: {', '.join(self.names)} changes the model's predictions in a way that can't be repeated for the "
                "perturbed ones. Turn off one of them"
            )
        return changed

    def _outputs(self, rows: int, conds_list: list) -> Tensor:
        """Return the outputs of all rows as the model gave them; the host puts conditional ones in place of skipped ones."""
        outputs = self._recorder.outputs(rows)
        if len(outputs) == rows:
            return outputs
        return torch.cat([outputs, *(outputs[conds[0][0]][None] for conds in conds_list)])

    def _changed(self, outputs: Tensor, first: Tensor) -> Tensor:
        """Return outputs with other first rows, after the callbacks."""
        given = outputs.clone()
        given[: len(first)] = first
        self._callbacks.call(given, self._recorder.module)
        return given
