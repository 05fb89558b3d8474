"""Prompts as stored in the generation parameters: with plain numbers that reproduce a refiner's switch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .edits import When, find_edits, replaced
from .numbers import Change, Timeline, plain_number

BASE, HIRES = "", "hr_"
"""Prefixes of the names of each pass' prompts."""
KINDS = {"prompts": False, "negative_prompts": True}
"""The lists of prompts, each with true if it holds negative prompts."""


def passes_of(p: Any) -> tuple[str, ...]:
    """Return the passes of a job."""
    return (BASE, HIRES) if getattr(p, "enable_hr", False) else (BASE,)


class PassChange:
    """The change of the prompts of a pass."""

    def __init__(self) -> None:
        self._call: int | None = None
        self._denoiser: Any = None
        self._expected: int | None = None

    def note(self, p: Any, prefix: str, second: bool, sampling: bool) -> None:
        """Record for which prompts the host computes conds.

        :param second: true if they are those of the second model
        :param sampling: true if sampling has begun (before, a sampler may be left over from another batch)
        """
        sampler = p.sampler if sampling else None
        if prefix == HIRES and sampler is not None:
            self._expected = sampler.config.total_steps(p.hr_second_pass_steps or p.steps)
        if second and self._call is None:
            self._denoiser = None if sampler is None else sampler.model_wrap_cfg
            self._call = 0 if self._denoiser is None else self._denoiser.step

    def in_pass(self, p: Any, prefix: str, old_timelines: bool) -> Change:
        """Return the change, after the pass."""
        base = p.firstpass_steps
        before = base if prefix == HIRES and not old_timelines else 0
        expected = (self._expected or base) if before else base
        made = 0 if self._denoiser is None else self._denoiser.step
        return Change(Timeline(expected, before, old_timelines), self._call, made)


def store_plain_numbers(
    p: Any, changes: Mapping[str, PassChange], follows: Callable[[When], bool], old_timelines: bool
) -> bool:
    """Store plain numbers for the edits that followed the refiner in all prompts of a batch; none if any has no such number.

    :param changes: the change of each pass
    :param follows: returns True if an edit followed the refiner
    """
    when = {prefix: change.in_pass(p, prefix, old_timelines) for prefix, change in changes.items()}
    batch = range(p.iteration * p.batch_size, min((p.iteration + 1) * p.batch_size, len(p.all_prompts)))
    lists = {f"all_{prefix}{kind}": list(getattr(p, f"all_{prefix}{kind}")) for prefix in when for kind in KINDS}
    for kind, negative in KINDS.items():
        for index in batch:
            texts = {prefix: lists[f"all_{prefix}{kind}"][index] for prefix in when}
            for prefix, text in _with_numbers(texts, when, negative, follows).items():
                if text is None:
                    return False
                lists[f"all_{prefix}{kind}"][index] = text
    for name, texts in lists.items():
        setattr(p, name, texts)
    if p.iteration == 0:
        p.main_prompt, p.main_negative_prompt = p.all_prompts[0], p.all_negative_prompts[0]
    return True


def _with_numbers(
    texts: Mapping[str, str], when: Mapping[str, Change], negative: bool, follows: Callable[[When], bool]
) -> dict[str, str | None]:
    """Return a picture's prompts by pass; a prompt common to both passes stays common if one number fits both changes."""
    if len(set(texts.values())) == 1:
        common = _rewritten(texts[BASE], list(when.values()), negative, follows)
        if common is not None:
            return dict.fromkeys(texts, common)
    return {prefix: _rewritten(text, [when[prefix]], negative, follows) for prefix, text in texts.items()}


def _rewritten(text: str, changes: Sequence[Change], negative: bool, follows: Callable[[When], bool]) -> str | None:
    edits = [edit for edit in find_edits(text, negative) if follows(edit)]
    numbers = {edit: plain_number(edit.text, changes) for edit in edits}
    return None if None in numbers.values() else replaced(text, edits, numbers.__getitem__)
