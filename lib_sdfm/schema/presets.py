"""Presets: named dictionaries of the API, shipped or the user's own. A preset includes its recipe."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import SettingError, UserError
from .files import write_json
from .host_values import checked_host_values
from .request import PRESET, apply_request, request_for
from .settings import Schema, Values

HOST = "host"
"""Key of the host's values in a preset of the user's file."""


@dataclass(frozen=True)
class Preset:
    """A named set of settings.

    :param name: name in the panel
    :param request: the API's dictionary
    :param about: its purpose, and what belongs to it besides
    :param host: values of the host's own controls that belong to it, by the API's names, see :mod:`.host_values`
    """

    name: str
    request: dict[str, Any]
    about: str = ""
    host: dict[str, Any] = field(default_factory=dict)


def request_of(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API's dictionary for these values: techniques that are on, with values that differ from the defaults.

    :raises SettingError: if a value isn't allowed
    """
    return request_for(schema, schema.settings(schema.guided(values)))


def named_preset(name: Any, presets: Mapping[str, Preset]) -> Preset:
    """Return the preset of a name, in capitals or not.

    :raises SettingError: if there is none; it names the nearest
    """
    known = {own.casefold(): own for own in presets}
    wanted = name.strip().casefold() if isinstance(name, str) else None
    if isinstance(name, str) and name in presets:
        return presets[name]
    if wanted in known:
        return presets[known[wanted]]
    nearest = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0) if wanted else []
    hint = f"; the nearest is {known[nearest[0]]!r}" if nearest else ""
    raise SettingError(PRESET, name, f"the name of a preset{hint}")


class PresetStore:
    """The shipped presets, and the user's own in a JSON file.

    :param shipped: read-only presets
    :param path: the user's file; it need not exist
    """

    def __init__(self, schema: Schema, shipped: tuple[Preset, ...], path: Path) -> None:
        self._schema, self._shipped, self._path = schema, {p.name: p for p in shipped}, path

    def names(self) -> list[str]:
        """Return all names, shipped ones first."""
        return [*self._shipped, *sorted(set(self._read()) - set(self._shipped))]

    def shipped_names(self) -> list[str]:
        """Return the names of the shipped presets, even if the user's file is damaged."""
        return list(self._shipped)

    def get(self, name: Any) -> Preset:
        """Return the preset of a name, in capitals or not.

        :raises SettingError: if there is none; it names the nearest
        """
        if isinstance(name, str) and name in self._shipped:
            return self._shipped[name]
        own = self._read()
        saved = {known: Preset(known, {key: of for key, of in said.items() if key != HOST}) for known, said in own.items()}
        found = named_preset(name, {**saved, **self._shipped})
        if found.name in self._shipped:
            return found
        host = checked_host_values(own[found.name].get(HOST, {}), f"the preset {found.name!r}")
        return dataclasses.replace(found, host=host)

    def is_own(self, name: str) -> bool:
        """Return True if a name is one of the user's presets."""
        return name.strip() in self._read()

    def values(self, name: str) -> Values:
        """Return the values of a preset.

        :raises SettingError: if there is none of this name, or its file holds settings that don't exist
        """
        return apply_request(self._schema, self._schema.defaults(), self.get(name).request)

    def save(self, name: str, values: Mapping[str, Any], host: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Save values under a name, overwriting the user's preset of that name.

        :param host: values of the host's controls that belong to it
        :raises SettingError: if the name is empty or a shipped preset's, or a value isn't allowed
        """
        name = name.strip()
        if not name or name in self._shipped:
            raise SettingError("Preset", name, "a name of your own")
        own, said = checked_host_values(host, f"the preset {name!r}"), request_of(self._schema, values)
        write_json(self._path, {**self._read(), name: {**said, HOST: own} if own else said})

    def delete(self, name: str) -> None:
        """Delete one of the user's presets.

        :raises SettingError: if it isn't one
        """
        own = self._read()
        if name not in own:
            raise SettingError("Preset", name, "one of your own: " + (", ".join(own) or "there are none"))
        del own[name]
        write_json(self._path, own)

    def _read(self) -> dict[str, Any]:
        try:
            own = json.loads(self._path.read_text(encoding="utf8"))
        except FileNotFoundError:
            return {}
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"the file of your presets, {self._path.name}, is damaged ({error}); repair it or delete it"
            ) from error
        if not isinstance(own, dict) or not all(isinstance(request, dict) for request in own.values()):
            raise UserError(f"the file of your presets, {self._path.name}, isn't a list of presets; repair it or delete it")
        return own
