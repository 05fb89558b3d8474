"""Presets: named dictionaries of the API, shipped or the user's own. A preset includes its recipe."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SettingError, UserError
from .files import write_json
from .params import params_of
from .request import apply_request
from .settings import Schema, Values


@dataclass(frozen=True)
class Preset:
    """A named set of settings.

    :param name: name in the panel
    :param request: the API's dictionary
    :param about: its purpose, and the host's settings that belong to it
    """

    name: str
    request: dict[str, Any]
    about: str = ""


def request_of(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API's dictionary for these values: techniques that are on, with values that differ from the defaults.

    :raises SettingError: if a value isn't allowed
    """
    settings = schema.settings(values)
    request: dict[str, Any] = {"recipe": settings.recipe}
    for technique in schema.techniques:
        if technique.name in settings.techniques:
            chosen = settings.techniques[technique.name]
            said = {p.name: (getattr(chosen, p.name), p.default) for p in params_of(technique.Settings)}
            request[technique.name] = {name: value for name, (value, default) in said.items() if value != default}
    for name, chosen in settings.by_default.items():
        request[name] = False if chosen is None else dataclasses.asdict(chosen)
    return request


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

    def get(self, name: str) -> Preset:
        """Return the preset of a name.

        :raises SettingError: if there is none
        """
        if name in self._shipped:
            return self._shipped[name]
        own = self._read()
        if name not in own:
            raise SettingError("Preset", name, "one of " + ", ".join(self.names()))
        return Preset(name, own[name])

    def values(self, name: str) -> Values:
        """Return the values of a preset.

        :raises SettingError: if there is none of this name, or its file holds settings that don't exist
        """
        return apply_request(self._schema, self._schema.defaults(), self.get(name).request)

    def save(self, name: str, values: Mapping[str, Any]) -> None:
        """Save values under a name, overwriting the user's preset of that name.

        :raises SettingError: if the name is empty or a shipped preset's, or a value isn't allowed
        """
        name = name.strip()
        if not name or name in self._shipped:
            raise SettingError("Preset", name, "a name of your own")
        write_json(self._path, {**self._read(), name: request_of(self._schema, values)})

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
                f"the file of your presets, {self._path.name}, is damaged ({error}); repair or delete it"
            ) from error
        if not isinstance(own, dict) or not all(isinstance(request, dict) for request in own.values()):
            raise UserError(f"the file of your presets, {self._path.name}, holds something else; repair or delete it")
        return own
