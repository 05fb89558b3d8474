"""Values that techniques keep from one sampler step to the next."""

from __future__ import annotations

from typing import Any, NamedTuple


class _Kept(NamedTuple):
    step: int
    value: Any
    before: Any


class PassMemory:
    """The values kept in one pass, with one model and one latent size; the host's adapter starts an empty one for each.

    It belongs to the pass, so nothing is left after an error or interrupt. Values are per image, ``(B, ...)``: a batch
    remembers what its single images would.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def before(self, name: str, step: int) -> Any:
        """Return the value last kept under a name in an earlier step, ``None`` if there is none.

        All calls of a step get the same value, so a sampler with two calls per step remembers as a first-order one does.
        """
        kept = self._kept.get(name)
        if kept is None:
            return None
        return kept.value if kept.step != step else kept.before

    def now(self, name: str, step: int) -> Any:
        """Return the value last kept under a name in this step itself, ``None`` if there is none."""
        kept = self._kept.get(name)
        return None if kept is None or kept.step != step else kept.value

    def keep(self, name: str, step: int, value: Any) -> None:
        """Keep a value under a name; of several calls of a step the last one counts."""
        self._kept[name] = _Kept(step, value, self.before(name, step))
