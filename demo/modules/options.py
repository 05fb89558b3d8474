"""The host's settings: defaults, casts, and the infotext key that a setting answers to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OptionInfo:
    """One setting.

    :param section: name and title of its page; the demo has none
    :param infotext: the key of a generation parameter that overrides the setting when pasted
    """

    default: Any
    label: str = ""
    infotext: str | None = None
    section: tuple[str, str] | None = None

    def needs_reload_ui(self) -> OptionInfo:
        return self


class Options:
    """Settings as attributes. ``data`` has only those that were set, as in A1111's config.json."""

    def __init__(self, data_labels: dict[str, OptionInfo]) -> None:
        vars(self).update(data={}, data_labels=data_labels)

    def __getattr__(self, key: str) -> Any:
        if key in self.data:
            return self.data[key]
        if key in self.data_labels:
            return self.data_labels[key].default
        raise AttributeError(key)

    def __setattr__(self, key: str, value: Any) -> None:
        self.data[key] = value

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Sets a known setting; tells whether it changed."""
        if key not in self.data_labels or getattr(self, key) == value:
            return False
        self.data[key] = value
        return True

    def cast_value(self, key: str, value: Any) -> Any:
        """A pasted value in the type of the setting's default; texts of switches are ``True`` and ``False``."""
        if value is None or key not in self.data_labels:
            return value
        kind = type(self.data_labels[key].default)
        if kind is bool and value == "False":
            return False
        return value if kind is type(None) else kind(value)
