"""Declarations of settings; each is written once, on a technique's dataclass, and everything else is generated:

``scale: float = number(3.0, 0, 100, label="PAG scale", help="...", key="PAG Scale", step=0.5)``
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SettingError

PARAM = "sdfm_param"
ADVANCED = "Advanced"
"""Group of settings that few people change."""
STRENGTH, USUAL, WHEN = range(3)
"""Places of settings in the panel: how strong a technique is stands first, then the others, then when it acts."""
LARGEST_NUMBER = 10**9


@dataclass(frozen=True)
class Param:
    """One setting.

    :param name: field name, also the name in the API
    :param kind: ``number``, ``integer``, ``boolean``, ``choice`` or ``text``
    :param default: default in recipe sdfm
    :param key: key in generation parameters
    :param own: true if the key is ours: omitted at the default (keys of the originals are always written)
    :param follows: name of the setting whose value is used if this one is ``None``
    :param minimum: smallest allowed number
    :param maximum: largest allowed number, ``None``: no limit
    :param slider_maximum: end of the slider, if larger numbers are allowed but not offered
    :param step: the slider's step
    :param choices: the allowed texts of a choice
    :param check_text: raises ``ValueError`` with the reason if a text isn't allowed
    :param absent: value of a missing key in generation parameters and payloads of the original
    :param group: name of the accordion of the technique's panel that contains the control
    :param place: :data:`STRENGTH`, :data:`USUAL` or :data:`WHEN`, the order of the controls in the panel
    :param suggestions: usual values of a text, each with its name in the panel
    :param panel_first: value that the panel takes when somebody switches the technique on with the default, which has no effect
    :param shown_as: the panel's own name of the setting, and the values' names there
    :param recipes: recipes in which the setting may differ from its default
    :param axis: label of the X/Y/Z axis that the original had for it
    :param axis_off: value at which the original's axis switched its technique off
    :param axis_values: what the original's axis called the values
    :param aliases: older names of the key, read and never written
    :param rare: true if the X/Y/Z plot lists its axes on request alone
    :param composite: true if the key holds several settings together, see :class:`Composite`
    :param written_if: returns True if the key has a meaning with the technique's settings (a minimum without its mode
        has none)
    :param found_at: value at which the setting is found while sampling; what was found is written, one value per image
    :param implies: values of other settings of the technique that are set when this one is named in a dictionary or by an axis
    """

    name: str
    kind: str
    default: Any
    label: str
    help: str
    key: str
    own: bool = False
    follows: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    slider_maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    check_text: Callable[[str], object] | None = None
    absent: Any = None
    group: str | None = None
    place: int = USUAL
    suggestions: tuple[tuple[str, str], ...] = ()
    panel_first: Any = None
    shown_as: tuple[str, Mapping[str, str]] | None = None
    recipes: tuple[str, ...] = ("sdfm", "original")
    axis: str | None = None
    axis_off: Any = None
    axis_values: tuple[tuple[str, str], ...] = ()
    rare: bool = False
    aliases: tuple[str, ...] = ()
    composite: bool = False
    written_if: Callable[[Any], bool] | None = None
    found_at: Any = None
    implies: tuple[tuple[str, Any], ...] = ()

    @property
    def optional(self) -> bool:
        """True if ``None`` is allowed: it means "as the setting that this one follows"."""
        return self.follows is not None

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.kind == "boolean":
            return "true or false"
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "text":
            return "a text as its help describes"
        noun = "a whole number" if self.kind == "integer" else "a number"
        if self.maximum is None:
            return f"{noun} of at least {plain(self.minimum)}"
        return f"{noun} from {plain(self.minimum)} to {plain(self.maximum)}"

    def is_found(self, settings: Any) -> bool:
        """Return True if it is found while sampling, with these settings of its technique."""
        value = getattr(settings, self.name)
        if value is None and self.optional:
            value = getattr(settings, self.follows)
        return self.found_at is not None and value == self.found_at

    def check(self, value: Any) -> Any:
        """Return the value in the setting's type.

        :raises SettingError: if it isn't one of the allowed values
        """
        if value is None and self.optional:
            return None
        if self.kind == "boolean":
            good = isinstance(value, bool)
        elif self.kind == "choice":
            value = _as_text(value)
            good = isinstance(value, str) and value in self.choices
        elif self.kind == "text":
            return self._check_text(value)
        else:
            good = self._is_number(value)
            value = self._as_number(value) if good else value
        if not good:
            raise SettingError(self.key, value, self.allowed)
        return value

    def parse(self, text: str) -> Any:
        """Parse a value of the generation parameters.

        :raises SettingError: if it is invalid
        """
        text = text.strip()
        if self.kind == "boolean":
            if text not in ("True", "False", "true", "false"):
                raise SettingError(self.key, text, "True or False")
            return text in ("True", "true")
        if self.kind in ("number", "integer"):
            try:
                return self.check(float(text))
            except ValueError:
                raise SettingError(self.key, text, self.allowed) from None
        return self.check(text)

    def format(self, value: Any) -> Any:
        """Return the value as written in generation parameters (the host formats it with ``str``)."""
        return plain(value) if isinstance(value, float) else value

    def _is_number(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(value, float) and not math.isfinite(value) or abs(value) > LARGEST_NUMBER:
            return False
        if self.kind == "integer" and value != int(value):
            return False
        return value >= self.minimum and (self.maximum is None or value <= self.maximum)

    def _as_number(self, value: float) -> float | int:
        return int(value) if self.kind == "integer" else float(value)

    def _check_text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise SettingError(self.key, value, "a text")
        try:
            self.check_text(value)
        except ValueError as reason:
            raise SettingError(self.key, value, str(reason)) from None
        return value.strip()


@dataclass(frozen=True)
class Composite:
    """A key of the generation parameters that holds several settings in one value.

    :param key: the key
    :param encode: returns the text for the technique's settings; ``None`` if the key is omitted
    :param decode: returns the values by setting name for a text; raises :class:`SettingError` if it is invalid
    :param own: true if the key is ours, see :class:`Param`
    """

    key: str
    encode: Callable[[Any], str | None]
    decode: Callable[[str], dict[str, Any]]
    own: bool = False


def _as_text(value: Any) -> Any:
    """Return a number as its text: 2 means the choice "2"; anything else as it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(plain(value)) if is_number and abs(value) <= LARGEST_NUMBER else value


def plain(value: float | None) -> float | int | None:
    """Return a number without ``.0`` if it is integral, as the panel's sliders do."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def number(default: float | None, minimum: float, maximum: float, **more: Any) -> Any:
    """Declare a number within bounds."""
    return _field("number", default, minimum=minimum, maximum=maximum, **more)


def integer(default: int | None, minimum: int, maximum: int | None = None, **more: Any) -> Any:
    """Declare a whole number; without ``maximum`` there is no upper bound."""
    return _field("integer", default, minimum=minimum, maximum=maximum, step=1, **more)


def boolean(default: bool | None, **more: Any) -> Any:
    """Declare a switch."""
    return _field("boolean", default, **more)


def choice(default: str | None, choices: tuple[str, ...], **more: Any) -> Any:
    """Declare a choice of several texts."""
    return _field("choice", default, choices=choices, **more)


def text(default: str, check_text: Callable[[str], object], **more: Any) -> Any:
    """Declare a text that ``check_text`` accepts."""
    return _field("text", default, check_text=check_text, **more)


def _field(kind: str, default: Any, **more: Any) -> Any:
    declaration = {"kind": kind, "default": default, **more}
    return dataclasses.field(default=default, metadata={PARAM: declaration})


@functools.cache
def params_of(settings: type) -> tuple[Param, ...]:
    """Return the declared settings of a dataclass, in the order of declaration."""
    return tuple(Param(name=f.name, **f.metadata[PARAM]) for f in dataclasses.fields(settings))
