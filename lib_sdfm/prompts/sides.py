"""A prompt's text before and after a refiner takes over."""

from __future__ import annotations

from collections.abc import Callable

from .edits import WIDE, When, find_edits


def side_of(prompt: str, follows: Callable[[str], bool], second: bool, negative: bool = False) -> str:
    """Return a prompt in which the edits that follow the refiner have become one of their two texts.

    :param follows: returns True if an edit with this number or mark follows the refiner
    :param second: true for the text after the switch
    :param negative: true for a negative prompt
    """
    while edit := next((edit for edit in find_edits(prompt, negative) if follows(edit.text)), None):
        start, colons, end = _bracket(prompt, edit)
        first, then = prompt[start + 1 : colons[0]], prompt[colons[0] + 1 : colons[-1]]
        if len(colons) == 1:  # [to:when]
            first, then = "", first
        prompt = prompt[:start] + (then if second else first) + prompt[end + 1 :]
    return prompt


def _bracket(prompt: str, edit: When) -> tuple[int, list[int], int]:
    """Return the positions of an edit's opening bracket, of its one or two colons, and of its closing bracket."""
    depth, colons = 0, []
    for place in range(edit.start - 1, -1, -1):
        character = prompt[place]
        if place and prompt[place - 1] == "\\":
            continue
        if character in "])":
            depth += 1
        elif character in "[(":
            if depth == 0:
                return place, sorted(colons)[-2:], prompt.index("]", edit.end)
            depth -= 1
        elif depth == 0 and (character == ":" or (character == WIDE and place in edit.wide)):
            colons.append(place)
    raise ValueError(f"no edit at {edit.start}")
