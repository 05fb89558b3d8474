"""Where a prompt has edits, ``[from:to:when]``, as the grammar of A1111 and Forge sees them, and what stands as ``when``.

That grammar: ``[from:to:number]`` and ``[to:number]`` are edits, ``[a|b]`` alternates, ``(a)``, ``(a:b)`` and ``[a]`` are
emphasis, a backslash takes the next character's meaning away. Brackets and colons that belong to none of these are text,
and whatever encloses them is text too. A ``|`` outside of an alternation, or a backslash before nothing, makes the whole
prompt plain text. A mark in place of the number, ``[from:to:refiner]``, is an edit for us alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

MARK = "refiner"
"""Stands as ``when`` where an edit follows the refiner."""

TOKENS = re.compile(r"\\.|[\[\]()|:]|[^\\\[\]()|:]+|\\")
AND = re.compile(r"\bAND\b")
NETWORK = re.compile(r"<\w+:[^>]+>")
WHEN = re.compile(rf"\s*([+-]?(?:\d+\.\d*|\.?\d+)(?:[eE][+-]?\d+)?|{MARK})\s*")
CLOSES = {"]": "[", ")": "("}
EDIT_COLONS = (1, 2)


@dataclass(frozen=True)
class When:
    """The number or mark of one edit.

    :param start: its place in the prompt
    :param text: what stands there, without the spaces around it
    """

    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass
class _Open:
    """A bracket that is still open: its kind, and the places of the colons and bars at its level."""

    kind: str
    colons: list[int] = field(default_factory=list)
    bars: int = 0


class _PlainText(Exception):
    """The grammar doesn't know what to do with a prompt: all of it is text."""


def find_edits(prompt: str, negative: bool = False) -> list[When]:
    """The edits of a prompt, from left to right, inner ones too.

    Of a prompt the hosts take networks (``<lora:...>``) out and split it at ``AND``; of a negative one they don't.
    """
    if "[" not in prompt:
        return []
    if negative:
        return _edits_of_part(prompt, 0)
    return [edit for start, part in _parts(prompt) for edit in _edits_around_networks(part, start)]


def replaced(prompt: str, edits: list[When], new_text: Callable[[When], str | None]) -> str:
    """The prompt with other texts in its edits' places; ``None`` leaves one as it is."""
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
    """Edits of what is left of a part without its networks, at their places in the whole."""
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
    """One token: ``stack`` holds the open brackets, ``found`` gets the edits that it ends."""
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
    """Whether a pair of brackets is something to the grammar; an edit is put down."""
    if group.bars or group.kind == "(" or not group.colons:
        most = 0 if group.bars or group.kind == "[" else 1
        return len(group.colons) <= most and not (group.bars and group.kind == "(")
    when = WHEN.fullmatch(text, group.colons[-1] + 1, end)
    if when is None or len(group.colons) not in EDIT_COLONS:
        return False
    found.append(When(when.start(1), when.group(1)))
    return True


def _leave(stack: list[_Open]) -> None:
    """The open brackets are text: so are those around what is text; bars in them have no place."""
    if any(group.bars for group in stack):
        raise _PlainText
    stack.clear()
