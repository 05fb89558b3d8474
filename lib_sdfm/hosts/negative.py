"""The encoded negative prompt of a pass, for techniques that compare cross-attention with it, on either host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..ops.nag import attention
from .attributes import InstanceAttribute, undone_on_failure


@dataclass(frozen=True)
class TextHost:
    """The parts of a host that encode a text and attend to it.

    :param encode: the host's ``get_learned_conditioning``: from a model, texts and steps to the schedule of each text
    :param contexts: from the encoding of texts ``(rows, tokens, channels)`` to what keys and values are made of (A1111's
        hypernetworks change it)
    :param attend: from query, key, value, each ``(rows, tokens, channels)``, and the number of heads to attention
    """

    encode: Callable[..., Any]
    contexts: Callable[[Tensor], tuple[Tensor, Tensor]] = lambda context: (context, context)
    attend: Callable[[Tensor, Tensor, Tensor, int], Tensor] = attention


class NegativePrompt:
    """The negative prompt of a pass for the loaded model, from construction until :meth:`detach`.

    The host's encoding is used if it has one. Encoded here are: another text than the job's, the negative prompt that Forge
    leaves out at CFG scale 1, and an empty one on SDXL, for which the hosts give zeros: attention to these is no attention to a
    text. A refiner has an encoder of its own, so all is encoded again where the host does that.

    :param text: the text, empty for the job's negative prompt
    :param p: the host's processing object
    :param host: encodes texts
    """

    def __init__(self, text: str, p: Any, host: TextHost) -> None:
        self._text, self._p, self._host = text, p, host
        self._own: Sequence[Any] | None = None
        self._attribute = InstanceAttribute(p, "setup_conds", self._followed(p.setup_conds))
        with undone_on_failure(self.detach):
            self._encode()

    def detach(self) -> None:
        """Restore everything; may be called again."""
        self._attribute.restore()
        self._own = None

    def at(self, step: int) -> list[Tensor]:
        """Return the encoding of each image's negative prompt, ``(tokens, channels)``, in one of the host's steps.

        Where neither text nor step changes it is the same object.
        """
        schedules = self._p.get_conds()[1] if self._own is None else self._own
        return [_encoding_at(schedule, step) for schedule in schedules]

    def _followed(self, setup_conds: Callable[[], Any]) -> Callable[[], Any]:
        def setup() -> Any:
            result = setup_conds()
            self._encode()
            return result

        return setup

    def _encode(self) -> None:
        p, hires = self._p, bool(getattr(self._p, "is_hr_pass", False))
        given = list(p.hr_negative_prompts if hires else p.negative_prompts)
        texts = [self._text] * len(given) if self._text else given
        zeroed = "" in texts and bool(p.sd_model.is_sdxl)
        if not self._text and not zeroed and p.get_conds()[1] is not None:
            self._own = None
            return
        steps = p.sampler.config.total_steps(getattr(p, "hr_second_pass_steps", 0) or p.steps) if hires else None
        networks = p.hr_extra_network_data if hires else p.extra_network_data
        self._own = p.get_conds_with_caching(self._host.encode, texts, p.firstpass_steps, [[None, None]], networks, steps)


def _encoding_at(schedule: Sequence[Any], step: int) -> Tensor:
    """Return the encoding that prompt editing gives in a step: the first that ends there or later, as the hosts choose."""
    chosen = next((entry for entry in schedule if step <= entry.end_at_step), schedule[0])
    return chosen.cond["crossattn"] if isinstance(chosen.cond, dict) else chosen.cond
