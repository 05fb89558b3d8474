"""The panel's report on refiner and prompts: when they switch, and which edits don't follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .edits import MARK, When, find_edits


@dataclass(frozen=True)
class ExpectedCall:
    """One expected call of the denoiser.

    :param step: the sampler's step, from 0
    :param sigma: the noise level
    :param done: the fraction of the run done before it, as counted by the host
    :param time: the model's time, 0 to 999 (a flow model's: to 1000); 0 if nobody asks for it
    """

    step: int
    sigma: float
    done: float
    time: float = 0.0


@dataclass(frozen=True)
class Expected:
    """The expected calls of the pass in which a refiner takes over.

    :param name: name of the pass
    :param steps: number of its sampler's steps
    :param calls: its calls, in order
    :param unknown: the reason why steps and calls can't be predicted; empty if they can
    :param by_sigma: true if the host takes "Switch at" for a noise level
    :param same_model: true if the refiner is the checkpoint with which the pass begins
    :param never: the reason why the refiner never takes over, whatever the calls are; empty if there is none
    """

    name: str
    steps: int = 0
    calls: Sequence[ExpectedCall] = ()
    unknown: str = ""
    by_sigma: bool = False
    never: str = ""
    same_model: bool = False

    def switch(self, switch_at: float) -> int | None:
        """Return the call at which the refiner takes over, ``None`` if it never does.

        :param switch_at: share of the run, or noise level; 0: from the start
        """
        if switch_at == 0:
            return 0 if self.calls else None
        reached = (call.sigma <= switch_at if self.by_sigma else call.done >= switch_at for call in self.calls)
        return next((number for number, is_reached in enumerate(reached) if is_reached), None)


@dataclass(frozen=True)
class Report:
    """Contents of the panel's line.

    :param text: one or more sentences
    :param following: edits with a number that follow "Switch at", by the name of their prompt
    :param fixes: edits that don't follow and perhaps should, likewise
    """

    text: str
    following: Mapping[str, Sequence[When]]
    fixes: Mapping[str, Sequence[When]]


def report(
    texts: Mapping[str, tuple[str, bool]], switch_at: float | None, follows: Callable[[str], bool], expected: Expected
) -> Report:
    """Return the report for the panel.

    :param texts: prompts by name, each with true if it is a negative prompt
    :param switch_at: where the refiner takes over, ``None`` without a refiner
    :param follows: returns True if an edit with this number or mark follows the refiner
    :param expected: the pass in which the refiner takes over; ignored without a refiner
    """
    edits = {name: find_edits(text, negative) for name, (text, negative) in texts.items()}
    if switch_at is None:
        marked = [name for name, found in edits.items() if any(edit.text == MARK for edit in found)]
        text = f"There is no refiner: “:{MARK}]” in the {' and '.join(marked)} has no effect." if marked else ""
        return Report(text, {}, {})
    following = {name: [edit for edit in found if follows(edit.text)] for name, found in edits.items()}
    fixes = {name: found for name, found in edits.items() if found and not following[name]}
    said = [_when(expected, switch_at, [name for name in following if following[name]])]
    said += [f"{_numbers(found)} in the {name} does not follow the refiner." for name, found in fixes.items()]
    with_numbers = {name: [edit for edit in found if edit.text != MARK] for name, found in following.items()}
    return Report(" ".join(said), with_numbers, fixes)


WITHIN = ("", ", in its second model call", ", in its third model call")
"""Text by the number of previous model calls of the same step."""


def _numbers(edits: Sequence[When]) -> str:
    return ", ".join(f"“:{edit.text}]”" for edit in edits)


def _when(expected: Expected, switch_at: float, following: Sequence[str]) -> str:
    what = " and ".join(["Model", *following]) if following else "The model"
    verb = "switch" if following else "switches"
    if expected.same_model:
        from_start = f", and the second prompt applies from the start in the {' and '.join(following)}" if following else ""
        return f"The refiner is the checkpoint itself: no model switches in the {expected.name}{from_start}."
    hint = "" if following else f" No prompt follows: write [from:to:{MARK}]."
    level = f"noise level {switch_at:g}"
    if expected.never:
        return f"{what} never {verb}: {expected.never}.{hint}"
    if expected.unknown:
        at = f"at {level}" if expected.by_sigma else f"at {switch_at:g} of the {expected.name}"
        return f"{what} {verb} {at}; the step can't be told in advance: {expected.unknown}.{hint}"
    number = expected.switch(switch_at)
    if number is None:
        why = f"no step starts at or below {level}" if expected.by_sigma else f"{switch_at:g} is too late"
        return f"{what} never {verb} in the {expected.name} ({expected.steps} steps): {why}.{hint}"
    call = expected.calls[number]
    within = WITHIN[sum(earlier.step == call.step for earlier in expected.calls[:number])]
    place = f"at step {call.step + 1} of {expected.steps} of the {expected.name}"
    return f"{what} {verb} {place} (sigma {call.sigma:.3g}){within}.{hint}"
