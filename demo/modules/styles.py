"""Prompt styles, which whoever wants them puts into the dictionary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class PromptStyle(NamedTuple):
    """``{prompt}`` in a text is where the prompt goes, else it comes before."""

    name: str
    prompt: str
    negative_prompt: str


class StyleDatabase:
    """The styles by name."""

    def __init__(self) -> None:
        self.styles: dict[str, PromptStyle] = {}

    def apply_styles_to_prompt(self, prompt: str, names: Iterable[str]) -> str:
        return _merged(prompt, [self.styles[name].prompt for name in names if name in self.styles])

    def apply_negative_styles_to_prompt(self, prompt: str, names: Iterable[str]) -> str:
        return _merged(prompt, [self.styles[name].negative_prompt for name in names if name in self.styles])


def _merged(prompt: str, styles: Iterable[str]) -> str:
    for style in styles:
        if "{prompt}" in style:
            prompt = style.replace("{prompt}", prompt)
        else:
            prompt = ", ".join(part for part in (prompt.strip(), style.strip()) if part)
    return prompt
