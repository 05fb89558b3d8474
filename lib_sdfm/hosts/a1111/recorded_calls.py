"""The model calls of one denoiser call, recorded as the host makes them, and repeated for the conditional rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...errors import UnsupportedError


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class RecordedCall:
    """Arguments of one call of the model; the first is the latent, ``(rows, C, H, W)``."""

    args: tuple
    kwargs: dict[str, Any]

    @property
    def rows(self) -> int:
        return self.args[0].shape[0]


class CallRecorder:
    """Records the calls of a module by a hook on this instance, until it is detached."""

    def __init__(self) -> None:
        self._module: nn.Module | None = None
        self._handles: list[RemovableHandle] = []
        self.keeps_outputs = False
        """True to keep what the recorded calls give, for :meth:`outputs`."""
        self._outputs: list[Tensor] = []
        self._calls: list[RecordedCall] = []
        self._before_first: Callable[[], None] = _nothing
        self._replayed: tuple[int, int] | None = None

    @property
    def module(self) -> nn.Module | None:
        """The recorded module."""
        return self._module

    def follow(self, module: nn.Module, before_first: Callable[[], None] = _nothing) -> None:
        """Record ``module`` from now on (a refiner brings another one) and drop earlier calls.

        :param before_first: called when the next call begins, after all callbacks of the host's
        """
        self._forget()
        if module is not self._module:
            self.detach()
            self._module = module
            self._handles = [
                module.register_forward_pre_hook(self._record, with_kwargs=True),
                module.register_forward_hook(self._keep_output),
            ]
        self._before_first = before_first

    def rows_before(self) -> int:
        """Return the number of rows of the calls before the current one."""
        return sum(call.rows for call in self._calls[:-1])

    def current_rows(self) -> tuple[int, int]:
        """Return the number of rows of the calls before the current one, and of this one, also while calls are repeated."""
        return self._replayed or (self.rows_before(), self._calls[-1].rows)

    def rows_of_calls(self, limit: int | None = None) -> list[int]:
        """Return the number of rows of each call, counting only the first ``limit`` of all rows."""
        rows: list[int] = []
        for call in self._calls:
            left = call.rows if limit is None else min(call.rows, limit - sum(rows))
            rows += [left] if left else []
        return rows

    def detach(self) -> None:
        """Remove the hook, if any."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._module = None
        self._before_first = _nothing
        self._forget()

    def _forget(self) -> None:
        self._calls.clear()
        self._outputs.clear()
        self.keeps_outputs = False

    def outputs(self, rows: int) -> Tensor:
        """Return the first ``rows`` rows of what the recorded calls gave, whatever has been made of it since."""
        return torch.cat(self._outputs)[:rows]

    def replay(self, rows: int, whole: bool = False) -> Tensor:
        """Return the module's output for the first ``rows`` rows of the recorded calls, in the same batches.

        :param whole: make all recorded calls with all their rows
        """
        outputs, before = [], 0
        for call in list(self._calls):
            take = call.rows if whole else min(call.rows, rows - before)
            if take:
                args, kwargs = first_rows((call.args, call.kwargs), take, call.rows)
                with self._replay(before, take):
                    outputs.append(self._module(*args, **kwargs))
            before += take
        if before < rows:
            raise UnsupportedError(
                "the model was called for fewer rows than there are prompts: another extension splits its calls"
            )
        return torch.cat(outputs)[:rows]

    @contextmanager
    def _replay(self, before: int, rows: int) -> Iterator[None]:
        """Don't record the call in this context, which repeats ``rows`` rows after ``before`` others."""
        self._replayed = before, rows
        try:
            yield
        finally:
            self._replayed = None

    def _record(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if self._replayed is not None:
            return
        self._calls.append(RecordedCall(args, kwargs))
        before_first, self._before_first = self._before_first, _nothing
        before_first()

    def _keep_output(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        if self.keeps_outputs and self._replayed is None:
            self._outputs.append(output.clone())


def row_count(cond: Any) -> int:
    """Return the number of rows of a conditioning: a tensor, or for SDXL a dictionary of tensors with the same rows."""
    if isinstance(cond, Tensor):
        return cond.shape[0]
    return next(value.shape[0] for value in cond.values() if isinstance(value, Tensor))


def first_rows(value: Any, take: int, rows: int) -> Any:
    """Return ``value`` with every tensor of at least ``rows`` rows, at any depth of lists and dictionaries, cut to ``take``.

    A tensor may have more rows than the call: A1111 doesn't cut the image conditioning where it skips the unconditional rows.
    """
    if isinstance(value, Tensor):
        return value[:take] if value.ndim and value.shape[0] >= rows else value
    if isinstance(value, dict):
        return {key: first_rows(item, take, rows) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(first_rows(item, take, rows) for item in value)
    return value
