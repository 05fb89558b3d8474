"""Meaning of the numbers of prompt edits to the hosts, and the plain number for a given change.

The hosts count calls of the denoiser: with ``[from:to:K]`` the calls 0 to K see ``from`` and the others ``to``, so that
``[from:to:0]`` is always ``to`` and no number changes a prompt at call 1. A number with a decimal point is a fraction of the
pass. In the hires pass both continue from the end of the first pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .edits import MARK

NEVER, ALWAYS = "999983", "-999983"
"""Numbers with which an edit never changes, or has changed from the start; no user writes such numbers."""


@dataclass(frozen=True)
class Timeline:
    """The hosts' counting in one pass.

    :param calls: number of denoiser calls that the host expects in it
    :param calls_before: in the hires pass, that of the first pass
    :param old: the host's option "Use old prompt editing timelines": fractions need no point, each pass counts from 0
    """

    calls: int
    calls_before: int = 0
    old: bool = False

    def change(self, number: str) -> int | None:
        """Return the first call, from 0, that sees ``to``; ``None`` if none does."""
        value = float(number)
        if self.old:
            value = value * self.calls if value < 1 else value
        elif "." in number:
            value = (value - (1 if self.calls_before else 0)) * self.calls
        else:
            value -= self.calls_before
        last = min(self.calls, int(value))
        if last < 1:
            return 0
        return None if last >= self.calls else last + 1

    def numbers_for(self, change: int | None) -> list[str]:
        """Return candidate numbers for a change at a call."""
        before = 0 if self.old else self.calls_before
        after = {None: self.calls, 0: 0}.get(change, (change or 0) - 1)
        return [str(before + after)]


@dataclass(frozen=True)
class Change:
    """The change of a prompt in a pass.

    :param timeline: the host's counting in this pass
    :param call: the first denoiser call, from 0, with the second prompt; ``None`` if there was none
    :param calls: number of denoiser calls made
    """

    timeline: Timeline
    call: int | None
    calls: int = 0

    def is_at(self, number: str) -> bool:
        """Return True if an edit with this number changes at that call and stays changed.

        After the number of calls that the host expects (DPM adaptive makes more) an edit returns to its first text.
        """
        lasts = self.call in (None, 0) or self.calls <= self.timeline.calls + 1
        return lasts and self.timeline.change(number) == self.call


def plain_number(when: str, changes: Sequence[Change]) -> str | None:
    """Return the number with which the host's own edit changes where the prompt did, in all of these passes.

    :param when: the ``when`` in the prompt, kept if it already has this meaning
    """
    tried = [] if when == MARK else [when]
    for change in changes:
        tried += change.timeline.numbers_for(change.call)
    return next((number for number in tried if all(change.is_at(number) for change in changes)), None)


def is_number(when: str, value: float | None) -> bool:
    """Return True if an edit's ``when`` is the number of the refiner's "Switch at": a fraction, like that, or 0."""
    if when == MARK or value is None:
        return False
    return abs(float(when) - value) < 1e-9 and ("." in when or value == 0)
