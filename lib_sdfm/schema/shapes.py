"""Shapes of ``alwayson_scripts`` in a request that the hosts drop without a word, or fail at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .settings import Schema
from .titles import ALL_ENTRIES

TITLE = "SDFM"
"""Our title in ``alwayson_scripts``."""
EXAMPLE = '{"args": [{"pag": {"scale": 3}}]}'


def args_of(said: Any) -> list[Any]:
    """Return a script's arguments; empty if the host would not accept them as a list."""
    args = said.get("args", []) if isinstance(said, Mapping) else []
    return args if isinstance(args, list) else []


def shape_notes(schema: Schema, body: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the shape of our titles' entries in a request's body, in words."""
    scripts = body.get("alwayson_scripts")
    if scripts is not None and not isinstance(scripts, Mapping):
        return [f'alwayson_scripts: the WebUI expects a dictionary of titles, {{"{TITLE}": {EXAMPLE}}}']
    titles = {title.lower() for title in (TITLE, *(entry.title for entry in ALL_ENTRIES))}
    notes = [_entry_note(str(title), said) for title, said in (scripts or {}).items() if str(title).lower() in titles]
    return [note for note in (*notes, *_stray(schema, body)) if note is not None]


def _entry_note(title: str, said: Any) -> str | None:
    if not isinstance(said, Mapping):
        return f"{title}: the WebUI ignores it, because `args` is missing; write {EXAMPLE}"
    if "args" not in said:
        return f"{title}: the WebUI ignores {_names(said)} and expects `args`, which is missing; write {EXAMPLE}"
    if not isinstance(said["args"], list):
        return f"{title}: `args` is not a list, and the WebUI fails on it; write {EXAMPLE}"
    others = [name for name in said if name != "args"]
    if others:
        return f"{title}: the WebUI ignores {_names(others)} beside `args`; settings belong in it"
    several = title.lower() == TITLE.lower() and sum(isinstance(arg, Mapping) for arg in said["args"]) > 1
    return f"{title}: all settings belong in one dictionary, the first of `args`" if several else None


def _stray(schema: Schema, body: Mapping[str, Any]) -> list[str]:
    """Return a note on our settings outside of ``alwayson_scripts``."""
    names = [t.name for t in schema.techniques if t.name in body] + [name for name in body if name.lower() == TITLE.lower()]
    if not names:
        return []
    return [f'the WebUI ignores {_names(names)} outside alwayson_scripts; write {{"{TITLE}": {EXAMPLE}}} there']


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names) or "an empty dictionary"
