"""Attributes temporarily set on an object, and restored exactly even after errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

MISSING = object()


class InstanceAttribute:
    """An attribute of one instance, replaced until :meth:`restore`.

    An attribute that the instance already had is restored; else the class' attribute is visible again. Restoring twice is
    harmless, and a value that other code has set in the meantime is kept.
    """

    def __init__(self, owner: object, name: str, value: object) -> None:
        self._owner, self._name, self._value = owner, name, value
        self._before: Any = vars(owner).get(name, MISSING)
        setattr(owner, name, value)

    def restore(self) -> None:
        if self._owner is None:
            return
        if vars(self._owner).get(self._name, MISSING) is self._value:
            if self._before is MISSING:
                delattr(self._owner, self._name)
            else:
                setattr(self._owner, self._name, self._before)
        self._owner = self._before = self._value = None


def undo_all(*undo: Callable[[], Any]) -> None:
    """Call undo functions in this order, each of them even if an earlier one fails.

    :raises Exception: the last failure, once all have been called; earlier ones are its context
    """
    with ExitStack() as stack:
        for function in reversed(undo):
            stack.callback(function)


@contextmanager
def undone_on_failure(*undo: Callable[[], Any]) -> Iterator[None]:
    """Undo what has been attached so far if the block fails: for constructors that attach one thing after another."""
    try:
        yield
    except BaseException:
        undo_all(*undo)
        raise
