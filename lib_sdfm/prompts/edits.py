"""Prompt edits, ``[from:to:when]``, found by the grammar of A1111 and Forge, with their ``when``.

In that grammar ``[from:to:number]`` and ``[to:number]`` are edits, ``[a|b]`` alternates, ``(a)``, ``(a:b)`` and ``[a]`` are
emphasis, and a backslash escapes the next character. Brackets and colons that belong to none of these are text, and so is
everything that encloses them. A ``|`` outside an alternation, or a backslash at the end, makes the whole prompt plain text.
A mark in place of the number, ``[from:to:refiner]``, is an edit known only to SDFM; it may be in capitals, and have full-width
colons.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

MARK = "refiner"
"""Mark in place of ``when`` of an edit that follows the refiner."""

WIDE = "："
"""The full-width colon, which input methods of Chinese and Japanese give."""

TOKENS = re.compile(rf"\\.|[\[\]()|:{WIDE}]|[^\\\[\]()|:{WIDE}]+|\\")
AND = re.compile(r"\bAND\b")
NETWORK = re.compile(r"<\w+:[^>]+>")
WHEN = re.compile(rf"\s*([+-]?(?:\d+\.\d*|\.?\d+)(?:[eE][+-]?\d+)?|(?ai:{MARK}))\s*")
MARKED = re.compile(rf"\s*(?ai:{MARK})\s*")
NEAR = re.compile(rf"(?<!\\)[:{WIDE}]\s*([^\s\\\[\]()|:{WIDE}]+)\s*\]")
"""The end of a bracket, with a word where the number or mark stands."""
LIKENESS = 0.82
CLOSES = {"]": "[", ")": "("}
EDIT_COLONS = (1, 2)


@dataclass(frozen=True)
class When:
    """The number or mark of one edit.

    :param start: its position in the prompt
    :param text: its text, without surrounding spaces; a mark in small letters
    :param wide: positions of the full-width colons that stand for the edit's colons
    """

    start: int
    text: str
    wide: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    def moved(self, place: Callable[[int], int]) -> When:
        """Return it at other positions, given by the present ones."""
        return When(place(self.start), self.text, tuple(map(place, self.wide)))


@dataclass
class _Open:
    """An open bracket: its kind, the positions of the colons at its level (and of full-width ones), and the number of bars."""

    kind: str
    colons: list[int] = field(default_factory=list)
    wide: list[int] = field(default_factory=list)
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
    places: list[tuple[int, int, str]] = []
    for edit in edits:
        text = new_text(edit)
        if text is not None:
            places += [(place, place + 1, ":") for place in edit.wide] + [(edit.start, edit.end, text)]
    pieces, done = [], 0
    for start, end, text in sorted(places):
        pieces += [prompt[done:start], text]
        done = end
    return "".join([*pieces, prompt[done:]])


def near_marks(prompt: str, negative: bool = False) -> list[str]:
    """Return the ends of brackets whose last word is the mark or resembles it, and that are no edits: ``:refinner]``."""
    edits = {edit.start for edit in find_edits(prompt, negative)}
    ends = [match for match in NEAR.finditer(prompt) if match.start(1) not in edits]
    return [match.group() for match in ends if _resembles_mark(match.group(1))]


def _resembles_mark(word: str) -> bool:
    return difflib.SequenceMatcher(None, word.lower(), MARK).ratio() > LIKENESS


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
    found = [edit.moved(places.__getitem__) for edit in edits]
    whole = [edit for edit in found if part[edit.start : edit.end].lower() == edit.text.lower()]
    return [edit.moved(lambda place: place + start) for edit in whole]


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
    return sorted((edit.moved(lambda place: place + start) for edit in found), key=lambda edit: edit.start)


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
    elif token == WIDE and stack:
        stack[-1].wide.append(place)
    elif token == "|":
        if not stack:
            raise _PlainText
        stack[-1].bars += 1
    elif token == "\\":
        raise _PlainText


def _close(group: _Open, end: int, text: str, found: list[When]) -> bool:
    """Return True if a pair of brackets has a meaning in the grammar; if it is an edit, append it to ``found``."""
    colons = _colons_of_edit(group, end, text)
    if group.bars or group.kind == "(" or not colons:
        most = 0 if group.bars or group.kind == "[" else 1
        return len(group.colons) <= most and not (group.bars and group.kind == "(")
    when = WHEN.fullmatch(text, colons[-1] + 1, end)
    if when is None or len(colons) not in EDIT_COLONS:
        return False
    said = when.group(1)
    wide = tuple(place for place in colons if text[place] == WIDE)
    found.append(When(when.start(1), MARK if MARKED.fullmatch(said) else said, wide))
    return True


def _colons_of_edit(group: _Open, end: int, text: str) -> list[int]:
    """Return the colons of a pair of brackets; full-width ones count if the last of them stands before the mark."""
    if group.wide and group.wide[-1] > max(group.colons, default=-1) and MARKED.fullmatch(text, group.wide[-1] + 1, end):
        return sorted(group.colons + group.wide)
    return group.colons


def _leave(stack: list[_Open]) -> None:
    """Treat all open brackets as text, as are those that enclose text; bars in them are not allowed."""
    if any(group.bars for group in stack):
        raise _PlainText
    stack.clear()
