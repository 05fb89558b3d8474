"""A foreign text: its values by key, and what is found wrong while they are read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import SettingError
from ..params import LARGEST_NUMBER

SWITCHES = {"True": True, "true": True, "False": False, "false": False}


class ForeignText:
    """Typed access to the pairs of a text; collects errors and warnings, and the keys that were understood.

    :param pairs: the parsed text
    """

    def __init__(self, pairs: Mapping[str, Any]) -> None:
        self.pairs = pairs
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.used: set[str] = set()

    def value(self, key: str, default: Any) -> Any:
        """The value of a key in the type of ``default``: a number, a switch or a text; ``default`` where it has none."""
        if key not in self.pairs:
            return default
        if isinstance(default, bool):
            return self._switch(key, default)
        return self._number(key, default) if isinstance(default, float) else str(self.pairs[key]).strip()

    def is_on(self, key: str) -> bool:
        """Whether a text has a switch and it is on."""
        return bool(self.value(key, False))

    def refuse(self, key: str, allowed: str) -> None:
        """Notes that the value of a key is not possible."""
        error = str(SettingError(key, self.pairs.get(key), allowed))
        if error not in self.errors:
            self.errors.append(error)

    def name(self, keys: Iterable[str], why: str) -> None:
        """Notes what can't be had, with the keys and values that ask for it."""
        present = [f"{key}: {self.pairs[key]}" for key in keys if key in self.pairs]
        self.warnings.append(f"{', '.join(present)}: {why}")

    def _switch(self, key: str, default: bool) -> bool:
        text = str(self.pairs[key]).strip()
        if text not in SWITCHES:
            self.refuse(key, "True or False")
        return SWITCHES.get(text, default)

    def _number(self, key: str, default: float) -> float:
        number = number_of(self.pairs[key])
        if number is None:
            self.refuse(key, "a number")
        return default if number is None else number


def number_of(value: Any) -> float | None:
    """The number that a value of a text means, ``None`` if it means none."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) <= LARGEST_NUMBER else None
