"""Declaration of another WebUI's feature: its keys, and their conversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .text import ForeignText, number_of

Said = dict[str, tuple[Any, str]]
"""Values by the name of our setting, each with the foreign key it comes from."""


@dataclass(frozen=True)
class Key:
    """One key.

    :param key: the key
    :param default: initial value in the feature's panel; also defines the type of the value
    :param setting: our setting that it becomes; ``None`` if the source's ``more`` reads it, or nothing does
    :param convert: conversion from their unit to ours
    """

    key: str
    default: float | bool | str = ""
    setting: str | None = None
    convert: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Source:
    """A feature of another WebUI.

    :param switch: the key that is written if it is on
    :param parts: keys that switch on parts of it, if there is no other switch
    :param by_presence: true if its switch is a value, which is on where the key is present
    :param off_at_0: true if such a switch is off at 0; Forge Neo's parser adds a 0 to texts that lack the key
    :param unless: a key beside which the same keys are another feature's
    :param why_not: why it is none of our techniques, if that isn't because we have none
    :param what: its name in messages
    :param technique: our technique that it becomes, ``None`` if there is none
    :param keys: its other keys; the first is shown in messages
    :param more: reads values that depend on several keys; if it returns ``None`` nothing is left to switch on
    :param replaces_cfg: order among the features that replace CFG there, of which only the last one has an effect;
        0: it doesn't replace CFG
    """

    switch: str
    what: str
    technique: str | None = None
    keys: tuple[Key, ...] = ()
    more: Callable[[ForeignText], Said | None] | None = None
    replaces_cfg: int = 0
    parts: tuple[str, ...] = ()
    by_presence: bool = False
    off_at_0: bool = False
    unless: str = ""
    why_not: str = "is not supported and was ignored"

    def is_present(self, text: ForeignText) -> bool:
        """Return True if any of its keys is present, and they are its own."""
        return any(key in text.pairs for key in self.all_keys) and self.unless not in text.pairs

    def is_on(self, text: ForeignText) -> bool:
        """Return True if it is switched on, or any of its parts."""
        if self.by_presence:
            return any(text.is_set(switch) and not self._is_0(text, switch) for switch in self.switches)
        return any(text.is_on(switch) for switch in self.switches)

    def _is_0(self, text: ForeignText, switch: str) -> bool:
        return self.off_at_0 and number_of(text.pairs[switch]) == 0

    @property
    def all_keys(self) -> tuple[str, ...]:
        """Its keys, the most important first."""
        return (self.switch, *(key.key for key in self.keys), *self.parts)

    @property
    def shown(self) -> tuple[str, ...]:
        """The keys shown in messages: the switches and the most important key."""
        return (*self.switches, *(key.key for key in self.keys[:1]))

    @property
    def switches(self) -> tuple[str, ...]:
        """The keys that switch it on, or parts of it."""
        return (self.switch, *self.parts)

    def read(self, text: ForeignText) -> Said | None:
        """Return the generation parameters' values for our settings."""
        said: Said = {}
        for key in self.keys:
            if key.setting is not None:
                value = text.value(key.key, key.default)
                said[key.setting] = (key.convert(value) if key.convert else value, key.key)
        if self.more is None:
            return said
        more = self.more(text)
        return None if more is None else {**said, **more}
