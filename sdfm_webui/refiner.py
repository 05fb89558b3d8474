"""Refiner sync in a job: changes of the prompts, and entries in the generation parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.refiner import ALIKE, RefinerPrompts, RefinerRule, has_refiner
from lib_sdfm.schema.infotext import our_keys, write_infotext
from lib_sdfm.schema.settings import Schema, Settings
from lib_sdfm.techniques.refiner_sync import RefinerSync

from .found import PerImage, place_of

Sampling = Callable[..., Any]


def rule_of(opts: Any) -> RefinerRule:
    """Return how a WebUI goes over to a refiner; Forge Neo's options say that it does so in its own way.

    :param opts: the WebUI's options
    """
    if not hasattr(opts, "refiner_use_steps"):
        return RefinerRule()
    by_sigma, fast = not opts.refiner_use_steps, bool(getattr(opts, "refiner_fast_sd", False))
    return RefinerRule(by_sigma, keeps_conds=fast, beside_hires=False, zero_is_off=True)


def forget_keys(schema: Schema, p: Any) -> None:
    """Remove our keys from the generation parameters: cells of an X/Y/Z plot share the dictionary."""
    for key in our_keys(schema):
        p.extra_generation_params.pop(key, None)


class RefinerJob:
    """Refiner sync of one batch.

    :param old_timelines: true if the host's option for old prompt editing timelines is on
    :param rule: how the host goes over to the refiner
    """

    def __init__(self, schema: Schema, settings: Settings, p: Any, old_timelines: bool, rule: RefinerRule = ALIKE) -> None:
        self._schema, self._p, self._rule = schema, p, rule
        sync = next((f for f in schema.by_default(settings) if isinstance(f, RefinerSync)), None)
        self.prompts = RefinerPrompts(sync, p, old_timelines, rule) if has_refiner(p) else None
        self.acts = self.prompts is not None and self.prompts.has_work()
        self._names = [sync.name] if self.acts and sync is not None else []
        self.settings = settings if self.acts or self._is_missed(settings, old_timelines) else replace(settings, by_default={})

    def _is_missed(self, settings: Settings, old_timelines: bool) -> bool:
        """Return True if it is off and would act at its defaults: generation parameters must say so."""
        is_off = settings.by_default.get(RefinerSync.name, ...) is None
        usual = RefinerSync(RefinerSync.Settings(), settings.recipe) if is_off else None
        return has_refiner(self._p) and RefinerPrompts(usual, self._p, old_timelines).has_work()

    def require_possible(self, labels: Sequence[str]) -> None:
        """Raise :class:`UnsupportedError` if the host's refiner keeps the prompts of the first model and they should change.

        :param labels: techniques that need the prompts as the refiner encodes them
        """
        named = [*([RefinerSync.label] if self.acts else []), *labels]
        if named and self._rule.keeps_conds and has_refiner(self._p):
            raise UnsupportedError(
                f"{', '.join(named)}: with this WebUI's option “Reload \"state_dict\" Only” the refiner can't have its "
                "own prompts. Turn off that option in the refiner's settings"
            )

    def warnings(self) -> list[str]:
        """Return a note if prompts should change with a refiner that the host doesn't use in this job."""
        if not self.acts or self._rule.beside_hires or not getattr(self._p, "enable_hr", False):
            return []
        return ["this WebUI's refiner does nothing with a hires pass: the first model and its prompts stay in use"]

    def write(self, settings: Settings) -> None:
        """Write our generation parameters.

        :param settings: ``self.settings``, with what depends on the model filled in
        """
        self.settings = settings
        self._p.extra_generation_params.update(write_infotext(self._schema, settings, self._names, self._place_of))

    def _place_of(self, key: str) -> PerImage:
        return place_of(self._p, key)

    def around(self, sampling: Sampling | None) -> Sampling:
        """Return the sampling of a batch whose prompts follow the refiner.

        :param sampling: the replacement of ``p.sample``, if any
        """

        def run(sample: Sampling, *args: Any, **kwargs: Any) -> Any:
            inner = sample if sampling is None else (lambda *a, **k: sampling(sample, *a, **k))
            result = self.prompts.sample(inner, *args, **kwargs)
            if self.prompts.stored and not self.prompts.moves_switch():
                plain = write_infotext(self._schema, replace(self.settings, by_default={}), place_of=self._place_of)
                forget_keys(self._schema, self._p)
                self._p.extra_generation_params.update(plain)
            return result

        return run
