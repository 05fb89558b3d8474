"""Marks in prompts that don't do what their author meant: near misses, and marks where no refiner takes over."""

from __future__ import annotations

from collections.abc import Iterable

from .edits import MARK, find_edits, near_marks


def mark_notes(prompts: Iterable[tuple[str, str, bool]], has_refiner: bool, is_on: bool = True) -> list[str]:
    """Return a note for each mark that stays text, with the prompt that has it.

    :param prompts: name and text of each prompt, and true for negative prompts
    :param has_refiner: true if a refiner takes over in the job
    :param is_on: false if refiner sync is switched off
    """
    notes = []
    for name, text, negative in prompts:
        if any(edit.text == MARK for edit in find_edits(text, negative)) and not (has_refiner and is_on):
            why = "refiner sync is off" if has_refiner else "there is no refiner"
            notes.append(f"{why}: “:{MARK}]” in the {name} has no effect, and the model sees the whole edit as text")
        for near in near_marks(text, negative):
            notes.append(f"“{near}” in the {name} is not recognised, and the model sees it as text: write [from:to:{MARK}]")
    return notes
