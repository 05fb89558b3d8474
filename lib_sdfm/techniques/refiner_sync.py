"""Refiner sync: the prompt changes with the model, in the same call of the denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..prompts.edits import MARK, find_edits
from ..prompts.numbers import is_number
from ..schema.feature import REFINER, Feature
from ..schema.params import boolean

SWITCH_AT = "Refiner switch at"
PROMPTS = {"Prompt": False, "Hires prompt": False, "Negative prompt": True, "Hires negative prompt": True}
"""The host's keys of prompts, each with true if it is a negative prompt."""


@dataclass(frozen=True)
class RefinerSyncSettings:
    """Settings of :class:`RefinerSync`."""

    numbers: bool = boolean(
        True, label="Numbers equal to “Switch at” follow the refiner", key="Refiner Sync Numbers", own=True,
        help="With “Switch at” 0.5, [from:to:0.5] is read as [from:to:refiner]. Off: such numbers are shares of the steps, as "
        "without SDFM.",
    )  # fmt: skip
    from_start: bool = boolean(
        False, label="Switch at 0: second model and prompt from the start", key="Refiner Sync Start", own=True,
        help="Uses the second model and its prompt for the whole picture, to see what they make on their own; the refiner's "
        "slider stops at 0.01.",
    )  # fmt: skip


class RefinerSync(Feature):
    """``[from:to:refiner]``: prompt edits with one text before the refiner's switch and another after it."""

    name, label = "refiner_sync", "Refiner sync"
    title = "Refiner: prompts switch with the model"
    part = REFINER
    summary = (
        "Changes the prompt exactly when the refiner takes over: write [from:to:refiner] in the prompt or the negative prompt. "
        "Has no effect without a refiner."
    )
    Settings = RefinerSyncSettings
    active_key = "Refiner Sync"
    rank = 90
    positions = (97, 98, 99)
    on_by_default = True

    @classmethod
    def unmentioned(cls, pairs: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings for parameters without our keys: numbers in prompts count steps, even if equal to "Switch at"."""
        switch_at = _as_number(pairs.get(SWITCH_AT))
        texts = [(str(pairs.get(key, "")), negative) for key, negative in PROMPTS.items()]
        equal = any(is_number(edit.text, switch_at) for text, negative in texts for edit in find_edits(text, negative))
        return {"numbers": not equal}

    def switch_at(self, asked: float | None) -> float | None:
        """Return where the refiner takes over, as a fraction of the run, given the host's "Switch at"."""
        return 0 if self.settings.from_start else asked

    def follows_refiner(self, when: str, switch_at: float | None) -> bool:
        """Return True if a prompt edit with this number or mark changes with the model when the refiner takes over.

        :param switch_at: the host's "Switch at"
        """
        return when == MARK or (self.settings.numbers and is_number(when, switch_at))


def _as_number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
