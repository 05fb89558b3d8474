"""Foreign generation parameters: their values by key, and the errors found while reading them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import SettingError
from ..params import LARGEST_NUMBER

UNSET = ("", "False", "false", "None", "N/A (Disabled)")
"""Values with which a feature that is switched on by a value is off."""
SWITCHES = {"True": True, "true": True, "False": False, "false": False}


class ForeignText:
    """Typed access to generation parameters; collects errors, warnings, and the keys that were understood.

    :param pairs: the parsed generation parameters
    """

    def __init__(self, pairs: Mapping[str, Any]) -> None:
        self.pairs = pairs
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.used: set[str] = set()

    def value(self, key: str, default: Any) -> Any:
        """Return the value of a key in the type of ``default``: a number, a switch or a text; ``default`` if it is missing."""
        if key not in self.pairs:
            return default
        if isinstance(default, bool):
            return self._switch(key, default)
        return self._number(key, default) if isinstance(default, float) else str(self.pairs[key]).strip()

    def is_on(self, key: str) -> bool:
        """Return True if a switch is present and on."""
        return bool(self.value(key, False))

    def is_set(self, key: str) -> bool:
        """Return True if a key is present whose value switches something on."""
        return key in self.pairs and str(self.pairs[key]).strip() not in UNSET

    def refuse(self, key: str, allowed: str) -> None:
        """Record an error: the value of a key is invalid."""
        error = str(SettingError(key, self.pairs.get(key), allowed))
        if error not in self.errors:
            self.errors.append(error)

    def name(self, keys: Iterable[str], why: str) -> None:
        """Record a warning: something is not supported; name its keys and values."""
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
    """Return a value as a number, ``None`` if it is none."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) <= LARGEST_NUMBER else None
