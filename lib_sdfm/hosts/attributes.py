"""Attributes set on an object for a while, and put back exactly."""

from __future__ import annotations

from typing import Any

MISSING = object()


class InstanceAttribute:
    """An attribute of one instance, replaced until :meth:`restore`.

    An attribute that the instance itself already had comes back; else the class' shows again. Restoring twice is
    harmless, and what somebody else has put there in the meantime stays.
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
