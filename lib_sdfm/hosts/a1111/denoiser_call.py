"""One call of A1111's CFG denoiser: its step, and what is attached to the UNet while it runs."""

from __future__ import annotations

import functools
from typing import Any

from ...errors import UnsupportedError
from ...sampling.model_call import ModelCall
from ...sampling.plan import main_perturbations, perturbations, skip_editors
from ...sampling.stages import Stages
from ..attention import other_rows
from ..attributes import undo_all
from ..run import Together
from ..unet_layers import UnetLayers
from .attention import PerturbedAttention
from .cond_only import CondOnly
from .decoder import EditedSkips
from .recorded_calls import CallRecorder, row_count
from .tail import A1111Tail, a1111_tail


class DenoiserCall:
    """One call of the denoiser: its step, and what is attached to the UNet while it runs."""

    def __init__(self, params: Any, call: ModelCall, active: tuple[Stages, ...]) -> None:
        self.params, self.model_call, self.active = params, call, active
        self.images = row_count(params.text_uncond)
        self.cond_rows = len(params.x) - self.images
        self.changes = perturbations(active, call)
        self.shared: A1111Tail | None = None
        self.cond_only: CondOnly | None = None
        self.begun = False
        self._attention: list[PerturbedAttention] = []
        self._skips: list[EditedSkips] = []

    def attach(self, unet: UnetLayers, recorder: CallRecorder, together: Together | None) -> None:
        """Attach what changes the main prediction.

        :param together: decides if perturbed rows run together with the host's; ``None`` for whole passes
        """
        unet.require_for(self.active, self.model_call)
        for perturbation in main_perturbations(self.active, self.model_call):
            hooks = PerturbedAttention(unet, perturbation, lambda rows: self._uncond_rows(rows, *recorder.current_rows()))
            self._attention.append(hooks)
            hooks.attach()
        for technique in skip_editors(self.active):
            skips = EditedSkips(unet.unet, functools.partial(technique.skip, call=self.model_call))
            self._skips.append(skips)
            skips.attach()
        if together is not None:
            self.shared = a1111_tail(unet, self.changes, bool(self._skips), self.cond_rows, together)
        if self.shared is not None:
            self.shared.attach()

    @property
    def perturbing(self) -> list[str]:
        """Labels of the techniques that perturb attention."""
        return [technique.label for technique in self.active if technique.name in self.changes]

    def keep_host_rows(self) -> None:
        """Let the model be called with the unconditional rows as well."""
        cond_only, self.cond_only = self.cond_only, None
        if cond_only is not None:
            cond_only.detach()

    def _uncond_rows(self, rows: int, earlier: int, called: int) -> slice:
        """Return the unconditional ones of the host's rows in a call.

        :param earlier: rows of the calls before
        :param called: rows of this one
        :raises UnsupportedError: if attention sees others, as with several tiles of a latent in one call of the UNet
        """
        own = rows if self.shared is None or self.shared.own_rows is None else self.shared.own_rows
        cond = max(self.cond_rows - earlier, 0)
        if own not in (0, called, min(cond, called)):
            changing = [technique.label for technique in self.active if technique.main_perturbation(self.model_call)]
            raise other_rows(", ".join(changing), rows, called)
        return slice(min(cond, own), own)

    def end_main_prediction(self) -> None:
        """Detach what affects only the main prediction; decoder edits also apply to the extra predictions.

        :raises UnsupportedError: if the model was not called, or a hook did not run
        """
        if self.active and not self.begun:
            raise UnsupportedError("the WebUI's model was not called in a step: another extension replaced the prediction")
        attached = (*self._attention, self.shared, self.cond_only)
        undo_all(*(one.detach for one in attached if one is not None))
        for hooks in (*self._attention, *self._skips):
            hooks.require_ran()

    def detach(self) -> None:
        """Detach everything."""
        attached = (*self._attention, *self._skips, self.shared, self.cond_only)
        undo_all(*(one.detach for one in attached if one is not None))
