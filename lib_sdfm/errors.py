"""Errors that are meant for the user: each names what is wrong and what is allowed."""

LONGEST_VALUE = 200


def shown(value: object) -> str:
    """A value as an error shows it: as it would be written in code, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits, texts nested beyond measure
        text = f"a monstrous {type(value).__name__}"
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."


class UserError(Exception):
    """Base class of what a user or an API client did wrong or asked for and can't have."""


class SettingError(UserError):
    """A setting has a value that it can't have.

    :param setting: the name under which the user knows the setting
    :param value: the value that was given
    :param allowed: what is allowed, in words
    """

    def __init__(self, setting: str, value: object, allowed: str) -> None:
        super().__init__(f"{setting}: {shown(value)} is not possible, allowed is {allowed}")
        self.setting, self.value, self.allowed = setting, value, allowed


class UnsupportedError(UserError):
    """The settings are valid, but can't be carried out with this model, sampler or host."""
