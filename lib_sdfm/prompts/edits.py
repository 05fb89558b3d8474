"""Prompt edits, ``[from:to:when]``, found by the grammar of A1111 and Forge, with their ``when``.

In that grammar ``[from:to:number]`` and ``[to:number]`` are edits, ``[a|b]`` alternates, ``(a)``, ``(a:b)`` and ``[a]`` are
emphasis, and a backslash escapes the next character. Brackets and colons that belong to none of these are text, and so is
everything that encloses them. A ``|`` outside an alternation, or a backslash at the end, makes the whole prompt plain text.
A mark in place of the number, ``[from:to:refiner]``, is an edit known only to SDFM.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

MARK = "refiner"
"""Mark in place of ``when`` of an edit that follows the refiner."""

TOKENS = re.compile(r"\\.|[\[\]()|:]|[^\\\[\]()|:]+|\\")
AND = re.compile(r"\bAND\b")
NETWORK = re.compile(r"<\w+:[^>]+>")
WHEN = re.compile(rf"\s*([+-]?(?:\d+\.\d*|\.?\d+)(?:[eE][+-]?\d+)?|{MARK})\s*")
CLOSES = {"]": "[", ")": "("}
EDIT_COLONS = (1, 2)


@dataclass(frozen=True)
class When:
    """The number or mark of one edit.

    :param start: its position in the prompt
    :param text: its text, without surrounding spaces
    """

    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass
class _Open:
    """An open bracket: its kind, the positions of the colons at its level, and the number of bars."""

    kind: str
    colons: list[int] = field(default_factory=list)
    bars: int = 0


class _PlainText(Exception):
    """Raised if the grammar can't parse a prompt, which is then all text."""


def find_edits(prompt: str, negative: bool = False) -> list[When]:
    """Return the edits of a prompt, from left to right, nested ones too.

    The hosts remove networks (``<lora:...>``) from a prompt and split it at ``AND``, but not a negative prompt.
    """
    if "[" not in prompt:
        return []
    if negative:
        return _edits_of_part(prompt, 0)
    return [edit for start, part in _parts(prompt) for edit in _edits_around_networks(part, start)]


def replaced(prompt: str, edits: list[When], new_text: Callable[[When], str | None]) -> str:
    """Return the prompt with the ``when`` of its edits replaced; ``None`` leaves one unchanged."""
    pieces, done = [], 0
    for edit in edits:
        text = new_text(edit)
        if text is not None:
            pieces += [prompt[done : edit.start], text]
            done = edit.end
    return "".join([*pieces, prompt[done:]])


def _parts(prompt: str) -> Iterator[tuple[int, str]]:
    start = 0
    for match in AND.finditer(prompt):
        yield start, prompt[start : match.start()]
        start = match.end()
    yield start, prompt[start:]


def _edits_around_networks(part: str, start: int) -> list[When]:
    """Return the edits of a part with its networks removed, at their positions in the whole prompt."""
    places = [place for begin, end in _kept(part) for place in range(begin, end)]
    edits = _edits_of_part("".join(part[place] for place in places), 0)
    found = [When(places[edit.start], edit.text) for edit in edits]
    return [When(edit.start + start, edit.text) for edit in found if part.startswith(edit.text, edit.start)]


def _kept(part: str) -> Iterator[tuple[int, int]]:
    done = 0
    for match in NETWORK.finditer(part):
        yield done, match.start()
        done = match.end()
    yield done, len(part)


def _edits_of_part(text: str, start: int) -> list[When]:
    found: list[When] = []
    stack: list[_Open] = []
    try:
        for token in TOKENS.finditer(text):
            _read(token.group(), token.start(), text, stack, found)
        _leave(stack)
    except _PlainText:
        return []
    return sorted((When(edit.start + start, edit.text) for edit in found), key=lambda edit: edit.start)


def _read(token: str, place: int, text: str, stack: list[_Open], found: list[When]) -> None:
    """Process one token: ``stack`` holds the open brackets, ``found`` gets the edits that it closes."""
    if token in "[(":
        stack.append(_Open(token))
    elif token in "])":
        if not stack or stack[-1].kind != CLOSES[token] or not _close(stack[-1], place, text, found):
            _leave(stack)
        else:
            stack.pop()
    elif token == ":" and stack:
        stack[-1].colons.append(place)
    elif token == "|":
        if not stack:
            raise _PlainText
        stack[-1].bars += 1
    elif token == "\\":
        raise _PlainText


def _close(group: _Open, end: int, text: str, found: list[When]) -> bool:
    """Return True if a pair of brackets has a meaning in the grammar; if it is an edit, append it to ``found``."""
    if group.bars or group.kind == "(" or not group.colons:
        most = 0 if group.bars or group.kind == "[" else 1
        return len(group.colons) <= most and not (group.bars and group.kind == "(")
    when = WHEN.fullmatch(text, group.colons[-1] + 1, end)
    if when is None or len(group.colons) not in EDIT_COLONS:
        return False
    found.append(When(when.start(1), when.group(1)))
    return True


def _leave(stack: list[_Open]) -> None:
    """Treat all open brackets as text, as are those that enclose text; bars in them are not allowed."""
    if any(group.bars for group in stack):
        raise _PlainText
    stack.clear()
