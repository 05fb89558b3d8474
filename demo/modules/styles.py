"""Prompt styles, from the file ``styles.csv``."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from typing import NamedTuple


class PromptStyle(NamedTuple):
    """``{prompt}`` in a text is where the prompt goes, else it comes before."""

    name: str
    prompt: str
    negative_prompt: str


class StyleDatabase:
    """The styles by name.

    :param folder: where the file is, if there is one
    """

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, "styles.csv")
        self.styles: dict[str, PromptStyle] = {}
        self.reload()

    def reload(self) -> None:
        self.styles.clear()
        if not os.path.isfile(self.path):
            return
        with open(self.path, encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file, skipinitialspace=True):
                style = PromptStyle(row["name"], row["prompt"] or "", row["negative_prompt"] or "")
                self.styles[style.name] = style

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
