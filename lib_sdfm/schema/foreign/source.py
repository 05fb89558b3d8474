"""How a feature of another WebUI is declared: its keys, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .text import ForeignText

Said = dict[str, tuple[Any, str]]
"""By the name of our setting: its value, and the foreign key that it comes from."""


@dataclass(frozen=True)
class Key:
    """One key.

    :param key: the key
    :param default: what the feature's panel starts with; also tells the type of the value
    :param setting: our setting that it becomes; ``None`` where the source's ``more`` reads it, if anything does
    :param convert: from their unit to ours
    """

    key: str
    default: float | bool | str = ""
    setting: str | None = None
    convert: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Source:
    """A feature of another WebUI.

    :param switch: the key that says that it is on
    :param parts: keys that switch on parts of it, where there is no other switch
    :param what: its name in messages
    :param technique: our technique that it becomes, ``None`` if there is none
    :param keys: its other keys; the first is shown in messages
    :param more: reads what the keys don't say on their own; ``None`` as its result: nothing is left to switch on
    :param replaces_cfg: place among the features that take CFG's place there, of which only the last one counts;
        0: it takes none
    """

    switch: str
    what: str
    technique: str | None = None
    keys: tuple[Key, ...] = ()
    more: Callable[[ForeignText], Said | None] | None = None
    replaces_cfg: int = 0
    parts: tuple[str, ...] = ()

    @property
    def all_keys(self) -> tuple[str, ...]:
        """Its keys, what matters most first."""
        return (self.switch, *(key.key for key in self.keys), *self.parts)

    @property
    def shown(self) -> tuple[str, ...]:
        """The keys that messages show: the switches and what matters most."""
        return (*self.switches, *(key.key for key in self.keys[:1]))

    @property
    def switches(self) -> tuple[str, ...]:
        """The keys that switch it on, or parts of it."""
        return (self.switch, *self.parts)

    def read(self, text: ForeignText) -> Said | None:
        """What the text says of our settings."""
        said: Said = {}
        for key in self.keys:
            if key.setting is not None:
                value = text.value(key.key, key.default)
                said[key.setting] = (key.convert(value) if key.convert else value, key.key)
        if self.more is None:
            return said
        more = self.more(text)
        return None if more is None else {**said, **more}
