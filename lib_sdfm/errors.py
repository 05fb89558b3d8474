"""Errors shown to the user: each says what is wrong and what is allowed."""

from __future__ import annotations

LONGEST_VALUE = 200


def shown(value: object) -> str:
    """Return a value as an error message shows it: as in code, truncated if long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits, texts nested beyond measure
        text = f"an unreadable {type(value).__name__}"
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."


class UserError(Exception):
    """Base class of errors caused by a user or an API client: invalid input, or an unsupported request."""

    def for_api(self) -> str:
        """Return the message for an API client, who knows settings by their names in the API."""
        return str(self)


class SettingError(UserError):
    """Invalid value of a setting.

    :param setting: the setting's name as the user knows it
    :param value: the given value
    :param allowed: what is allowed, in words
    :param id: its name in the API, ``pag.scale``; empty if it has none
    """

    def __init__(self, setting: str, value: object, allowed: str, id: str = "") -> None:
        super().__init__(self._message(setting, value, allowed))
        self.setting, self.value, self.allowed, self.id = setting, value, allowed, id

    def for_api(self) -> str:
        return self._message(self.id or self.setting, self.value, self.allowed)

    def at(self, id: str) -> SettingError:
        """Return this error with the setting's name in the API, unless it has one."""
        self.id = self.id or id
        return self

    @staticmethod
    def _message(setting: str, value: object, allowed: str) -> str:
        return f"{setting}: {shown(value)} is not valid. Allowed: {allowed}"


class ConflictError(UserError):
    """Two features that exclude each other.

    :param one: the name of one as the user knows it
    :param other: the name of the other
    :param why: the reason, in words
    """

    def __init__(self, one: str, other: str, why: str) -> None:
        super().__init__(f"{one} and {other} can't be on together: {why}. Turn off one of them")


class UnsupportedError(UserError):
    """Valid settings that this model, sampler or host doesn't support."""
