"""Prompts that change with the model when a refiner takes over, on either host.

Both hosts recompute their conds at the switch, by ``p.setup_conds()``, and those of the hires pass by
``p.calculate_hr_conds()``. Just before either, the prompts of the model loaded by then are set. So model and prompt change
in the same call with every sampler. The cached conds belong to the host and are not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..prompts.edits import When, find_edits, replaced
from ..prompts.numbers import ALWAYS, NEVER
from ..prompts.stored import BASE, HIRES, KINDS, PassChange, passes_of, store_plain_numbers
from ..techniques.refiner_sync import RefinerSync
from .attributes import InstanceAttribute

SWITCH_AT = "Refiner switch at"


@dataclass(frozen=True)
class RefinerRule:
    """How a host goes over to the refiner.

    :param by_sigma: true if "Switch at" is a noise level, at and below which the refiner works, false for a share of the run
    :param keeps_conds: true if the refiner's weights replace the model's and the prompts are not encoded again
    :param beside_hires: false if the refiner does nothing in jobs with a hires pass
    :param zero_is_off: true if "Switch at" 0 switches the refiner off
    """

    by_sigma: bool = False
    keeps_conds: bool = False
    beside_hires: bool = True
    zero_is_off: bool = False

    @property
    def at_once(self) -> float:
        """The "Switch at" with which the refiner works from the start."""
        if not self.zero_is_off:
            return 0
        return HIGHEST_SIGMA if self.by_sigma else BEFORE_THE_FIRST


HIGHEST_SIGMA, BEFORE_THE_FIRST = 1e9, -1
ALIKE = RefinerRule()
"""A1111's and Forge's rule."""


def has_refiner(p: Any) -> bool:
    """Return True if a job has a refiner."""
    return getattr(p, "refiner_checkpoint_info", None) is not None


class RefinerPrompts:
    """Prompts attached to the processing object, before the host computes a batch's conds, until :meth:`detach`.

    :param sync: decides where the switch is and which edits follow it; ``None`` if it is off
    :param p: the host's processing object, with a refiner
    :param old_timelines: true if the host's option for old prompt editing timelines is on
    :param rule: how the host goes over to the refiner
    """

    def __init__(self, sync: RefinerSync | None, p: Any, old_timelines: bool, rule: RefinerRule = ALIKE) -> None:
        self._sync, self._p, self._old_timelines, self._rule = sync, p, old_timelines, rule
        self._asked = p.refiner_switch_at
        self._changes = {prefix: PassChange() for prefix in passes_of(p)}
        self._lists: dict[str, InstanceAttribute] = {}
        self._attributes: list[InstanceAttribute] = []
        self._hires_made: object = None
        self._sampling = False
        self.stored = False

    def has_work(self) -> bool:
        """Return True if any prompt of the batch follows the refiner, or the switch moves."""
        return self.moves_switch() or any(
            self._follows(edit)
            for prefix in passes_of(self._p)
            for kind, negative in KINDS.items()
            for text in self._texts(prefix + kind)
            for edit in find_edits(text, negative)
        )

    def moves_switch(self) -> bool:
        """Return True if the refiner takes over at another point than the host's "Switch at"."""
        return self._switch_at() != self._asked

    def attach(self) -> None:
        """Set the first prompts, and wrap the host's functions that compute conds."""
        p = self._p
        self._replace("refiner_switch_at", self._switch_at())
        self._replace("setup_conds", self._with_prompts(p.setup_conds))
        if hasattr(p, "calculate_hr_conds"):
            self._replace("calculate_hr_conds", self._with_hires_prompts(p.calculate_hr_conds))
        for prefix in passes_of(p):
            self._put(prefix, self._starts_on_refiner(prefix))

    def detach(self) -> None:
        """Restore everything; may be called again."""
        for attribute in (*self._attributes, *self._lists.values()):
            attribute.restore()
        self._attributes.clear()
        self._lists.clear()

    def sample(self, sample: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the host's ``p.sample``, or its replacement. Afterwards ``stored`` is true if the prompts in the generation
        parameters have plain numbers, with which the host alone reproduces the picture."""
        self._sampling = True
        self._forget_last_refiner()
        try:
            result = sample(*args, **kwargs)
        finally:
            self.detach()
        if self.moves_switch() and SWITCH_AT in self._p.extra_generation_params:
            self._p.extra_generation_params[SWITCH_AT] = 0
        self.stored = store_plain_numbers(self._p, self._changes, self._follows, self._old_timelines)
        return result

    def _forget_last_refiner(self) -> None:
        """Drop the last batch's model, which A1111's img2img keeps in its sampler for all batches."""
        denoiser = getattr(getattr(self._p, "sampler", None), "model_wrap_cfg", None)
        if denoiser is not None:
            denoiser.model_wrap = None

    def _switch_at(self) -> float | None:
        asked = self._asked if self._sync is None else self._sync.switch_at(self._asked)
        return self._rule.at_once if asked == 0 and asked != self._asked else asked

    def _follows(self, edit: When) -> bool:
        ours = edit.text in (NEVER, ALWAYS)
        return ours or (self._sync is not None and self._sync.follows_refiner(edit.text, self._asked))

    def _is_refiner_loaded(self) -> bool:
        return self._p.sd_model.sd_checkpoint_info == self._p.refiner_checkpoint_info

    def _starts_on_refiner(self, prefix: str) -> bool:
        own = getattr(self._p, "hr_checkpoint_info", None) if prefix == HIRES else None
        return self._is_refiner_loaded() if own is None else own == self._p.refiner_checkpoint_info

    def _texts(self, name: str) -> list[str]:
        return list(getattr(self._p, name, None) or ())

    def _replace(self, name: str, value: Any) -> None:
        self._attributes.append(InstanceAttribute(self._p, name, value))

    def _put(self, prefix: str, second: bool) -> None:
        """Set the prompts of a pass, made from the current ones, as other scripts may have changed them."""

        def number(edit: When) -> str | None:
            return (ALWAYS if second else NEVER) if self._follows(edit) else None

        for kind, negative in KINDS.items():
            name = prefix + kind
            texts = [replaced(text, find_edits(text, negative), number) for text in self._texts(name)]
            if name in self._lists and texts == getattr(self._p, name):
                continue
            before = self._lists.pop(name, None)
            if before is not None:
                before.restore()
            self._lists[name] = InstanceAttribute(self._p, name, texts)

    def _follow_model(self, prefix: str) -> None:
        second = self._is_refiner_loaded()
        self._put(prefix, second)
        self._changes[prefix].note(self._p, prefix, second, self._sampling)

    def _with_prompts(self, setup_conds: Callable[[], Any]) -> Callable[[], Any]:
        def setup() -> Any:
            self._follow_model(HIRES if getattr(self._p, "is_hr_pass", False) else BASE)
            return setup_conds()

        return setup

    def _with_hires_prompts(self, calculate_hr_conds: Callable[[], Any]) -> Callable[[], Any]:
        """Wrap the function so that conds of the hires pass made early, for other prompts or another model, are recomputed."""

        def calculate() -> Any:
            p = self._p
            if getattr(p, "is_hr_pass", False):
                self._follow_model(HIRES)
                if self._hires_made != self._hires_wanted():
                    p.hr_c = p.hr_uc = None
            self._hires_made = self._hires_wanted()
            return calculate_hr_conds()

        return calculate

    def _hires_wanted(self) -> object:
        """Return the checkpoint and prompts from which the conds of the hires pass are computed."""
        return self._p.sd_model.sd_checkpoint_info, [self._texts(HIRES + kind) for kind in KINDS]
