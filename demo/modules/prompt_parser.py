"""Prompts: editing ``[a:b:0.5]`` and ``[a|b]`` by a grammar, AND with weights, and emphasis ``(word:1.2)``.

Numbers of edits count calls of the denoiser: a schedule is a list of (last call, text).
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import lark
import torch

from modules.conditions import ConditionDict, rows_from

GRAMMAR = r"""
start: (prompt | stray)*
stray.-5: STRAY
prompt: (edit | alternation | group | TEXT | SPACE)*
edit.3: "[" [prompt ":"] prompt ":" [SPACE] SIGNED_NUMBER [SPACE] "]"
alternation.2: "[" prompt ("|" [prompt])+ "]"
group.1: ROUND prompt ROUND_END | ROUND prompt COLON prompt ROUND_END | SQUARE prompt SQUARE_END
ROUND: "("
ROUND_END: ")"
SQUARE: "["
SQUARE_END: "]"
COLON: ":"
STRAY: /[\[\]():]/
SPACE: /\s+/
TEXT: /(?:\\.|[^\\|:()\[\]])+/
%import common.SIGNED_NUMBER
"""
PARSER = lark.Lark(GRAMMAR, parser="earley", maybe_placeholders=True)

ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", ["end_at_step", "cond"])


class _Timeline:
    """Which numbers a pass counts in.

    Edits with a point are fractions of the pass, others are calls; in the hires pass both go on from where the first
    pass ended, 1.0 or its number of calls.
    """

    def __init__(self, base_steps: int, hires_steps: int | None, old: bool) -> None:
        self._old = old
        hires = hires_steps is not None and not old
        self.steps = hires_steps if hires else base_steps
        self._calls_before, self._passes_before = (base_steps, 1.0) if hires else (0, 0.0)

    def when(self, number: str) -> int:
        value = float(number)
        if self._old:
            value = value * self.steps if value < 1 else value
        elif "." in number:
            value = (value - self._passes_before) * self.steps
        else:
            value -= self._calls_before
        return min(self.steps, int(value))


def _changes(tree: lark.Tree, timeline: _Timeline) -> set[int]:
    """The calls after which the text may change."""
    found = {timeline.steps}
    for edit in tree.find_data("edit"):
        when = timeline.when(str(edit.children[-2]))
        if when >= 1:
            found.add(when)
    if next(tree.find_data("alternation"), None) is not None:
        found.update(range(1, timeline.steps + 1))
    return found


def _text(node: Any, step: int, timeline: _Timeline) -> str:
    """The text at a call, counted from 1."""
    if node is None:
        return ""
    if isinstance(node, lark.Token):
        return str(node)
    if node.data == "edit":
        before, after, _, number, _ = node.children
        return _text(before if step <= timeline.when(str(number)) else after, step, timeline)
    if node.data == "alternation":
        return _text(node.children[(step - 1) % len(node.children)], step, timeline)
    return "".join(_text(child, step, timeline) for child in node.children)


def _schedule(prompt: str, timeline: _Timeline) -> list[list[Any]]:
    if "[" not in prompt:  # nothing to edit; the grammar is slow with long prompts
        return [[timeline.steps, prompt]]
    try:
        tree = PARSER.parse(prompt)
    except lark.exceptions.LarkError:
        return [[timeline.steps, prompt]]
    return [[step, _text(tree, step, timeline)] for step in sorted(_changes(tree, timeline))]


def get_learned_conditioning_prompt_schedules(
    prompts: Sequence[str], base_steps: int, hires_steps: int | None = None, use_old_scheduling: bool = False
) -> list[list[list[Any]]]:
    """For each prompt its texts, each with the last call (from 1) at which it stands."""
    timeline = _Timeline(base_steps, hires_steps, use_old_scheduling)
    known = {prompt: _schedule(prompt, timeline) for prompt in set(prompts)}
    return [known[prompt] for prompt in prompts]


class SdConditioning(list):
    """Prompts with what else the text encoder wants to know."""

    def __init__(
        self,
        prompts: Sequence[str],
        is_negative_prompt: bool = False,
        width: int | None = None,
        height: int | None = None,
        copy_from: Any = None,
    ) -> None:
        super().__init__(prompts)
        source = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
        self.width = width or getattr(source, "width", None)
        self.height = height or getattr(source, "height", None)


def get_learned_conditioning(
    model: Any, prompts: Sequence[str], steps: int, hires_steps: int | None = None, use_old_scheduling: bool = False
) -> list[list[ScheduledPromptConditioning]]:
    """For each prompt its conds, each with the last call at which it stands."""
    schedules = get_learned_conditioning_prompt_schedules(prompts, steps, hires_steps, use_old_scheduling)
    encoded: dict[str, list[ScheduledPromptConditioning]] = {}
    for prompt, schedule in zip(prompts, schedules):
        if prompt not in encoded:
            conds = model.get_learned_conditioning(SdConditioning([text for _, text in schedule], copy_from=prompts))
            encoded[prompt] = [ScheduledPromptConditioning(end, rows_from(conds, row)) for row, (end, _) in enumerate(schedule)]
    return [encoded[prompt] for prompt in prompts]


AND = re.compile(r"\bAND\b")
WEIGHT = re.compile(r"^(.*?)(?:\s*:\s*([-+]?(?:\d+\.?\d*|\.\d+)))?\s*$", re.DOTALL)


class ComposableScheduledPromptConditioning:
    """One prompt of several joined by AND."""

    def __init__(self, schedules: list[ScheduledPromptConditioning], weight: float = 1.0) -> None:
        self.schedules = schedules
        self.weight = weight


class MulticondLearnedConditioning:
    """The prompts of a batch: per picture one or more."""

    def __init__(self, shape: tuple[int, ...], batch: list[list[ComposableScheduledPromptConditioning]]) -> None:
        self.shape = shape
        self.batch = batch


def _weighted(part: str) -> tuple[str, float]:
    text, weight = WEIGHT.match(part).groups()
    return text, 1.0 if weight is None else float(weight)


def get_multicond_learned_conditioning(
    model: Any, prompts: Sequence[str], steps: int, hires_steps: int | None = None, use_old_scheduling: bool = False
) -> MulticondLearnedConditioning:
    """The same for prompts that AND joins; ``: 0.7`` at the end of a part is its weight."""
    parts = [[_weighted(part) for part in AND.split(prompt)] for prompt in prompts]
    texts = SdConditioning(list(dict.fromkeys(text for row in parts for text, _ in row)), copy_from=prompts)
    conds = dict(zip(texts, get_learned_conditioning(model, texts, steps, hires_steps, use_old_scheduling)))
    batch = [[ComposableScheduledPromptConditioning(conds[text], weight) for text, weight in row] for row in parts]
    return MulticondLearnedConditioning((len(prompts),), batch)


def _at(schedule: Sequence[ScheduledPromptConditioning], call: int) -> Any:
    """The cond at a call counted from 0: ``[a:b:3]`` is still ``a`` at call 3 (a quirk of A1111). After the end, the first."""
    return next((entry.cond for entry in schedule if call <= entry.end_at_step), schedule[0].cond)


def reconstruct_cond_batch(conds: Sequence[Sequence[ScheduledPromptConditioning]], current_step: int) -> Any:
    """The conds of a batch at a call, ``(B, tokens, width)``, or a dictionary with them."""
    return _stacked([_at(schedule, current_step) for schedule in conds])


def reconstruct_multicond_batch(
    conds: MulticondLearnedConditioning, current_step: int
) -> tuple[list[list[tuple[int, float]]], Any]:
    """The conds of all prompts at a call, and for each picture its (row, weight) pairs."""
    tensors, rows = [], []
    for prompts in conds.batch:
        rows.append([(len(tensors) + i, prompt.weight) for i, prompt in enumerate(prompts)])
        tensors += [_at(prompt.schedules, current_step) for prompt in prompts]
    return rows, _stacked(tensors)


def _stacked(conds: list[Any]) -> Any:
    """Conds of one batch in one; shorter texts repeat their last token."""
    if isinstance(conds[0], dict):
        return ConditionDict({name: _stacked([cond[name] for cond in conds]) for name in conds[0]})
    if conds[0].dim() == 1:
        return torch.stack(conds)
    longest = max(cond.shape[0] for cond in conds)
    padded = [torch.cat([cond, cond[-1:].expand(longest - cond.shape[0], -1)]) for cond in conds]
    return torch.stack(padded)


TOKENS = re.compile(r"\\.|[()\[\]]|:\s*([+-]?[.\d]+)\s*\)|[^\\()\[\]:]+|:|\\")
BREAK = re.compile(r"\s*\bBREAK\b\s*")
STRONGER = 1.1


def parse_prompt_attention(text: str) -> list[list[Any]]:
    """Text pieces with their weights; ``BREAK`` has the weight -1."""
    pieces: list[list[Any]] = []
    open_round: list[int] = []
    open_square: list[int] = []

    def weigh(start: int, factor: float) -> None:
        for piece in pieces[start:]:
            piece[1] *= factor

    for match in TOKENS.finditer(text):
        token, weight = match.group(0), match.group(1)
        if token.startswith("\\"):
            pieces.append([token[1:], 1.0])
        elif token in "([":
            (open_round if token == "(" else open_square).append(len(pieces))
        elif weight is not None and open_round:
            weigh(open_round.pop(), float(weight))
        elif token == ")" and open_round:
            weigh(open_round.pop(), STRONGER)
        elif token == "]" and open_square:
            weigh(open_square.pop(), 1 / STRONGER)
        else:
            pieces += _between_breaks(token)
    for start in open_round:
        weigh(start, STRONGER)
    for start in open_square:
        weigh(start, 1 / STRONGER)
    return _merged(pieces or [["", 1.0]])


def _between_breaks(text: str) -> list[list[Any]]:
    parts: list[list[Any]] = []
    for part in BREAK.split(text):
        parts += [["BREAK", -1], [part, 1.0]] if parts else [[part, 1.0]]
    return parts


def _merged(pieces: list[list[Any]]) -> list[list[Any]]:
    merged = pieces[:1]
    for text, weight in pieces[1:]:
        if weight == merged[-1][1]:
            merged[-1][0] += text
        else:
            merged.append([text, weight])
    return merged
