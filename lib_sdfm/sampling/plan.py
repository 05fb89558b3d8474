"""The techniques of one run and how they compose; this is the only place that defines their order.

1. ``main_perturbation``, ``cross_attention`` and ``skip`` change the model's own predictions, the last two in 2. as well.
2. ``perturbation``: the conditional rows are predicted once more for each technique that needs it.
3. ``guidance_scale``: each technique may change the CFG scale of the call; it is 1 if CFG is left out for all images.
4. ``observe``: techniques look at the predictions.
5. ``combine``: one technique may replace plain CFG; two of them exclude each other (:meth:`Stages.combines`). Images without
   CFG (``images_without_cfg``) get CFG at scale 1 instead.
6. ``correct``: each technique adds to the result, in the order of registration.
7. ``finish``: the whole result is changed (CFG rescale).
8. ``scale_noise``: the noise that it leaves in the latent is scaled.
9. ``renoise``: the whole result is changed for the sampler's renoising (CFG++).

In recipe original a technique that computes CFG itself (PAG, the CFG schedule) replaces step 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import UnsupportedError
from .model_call import ModelCall
from .prediction import Prediction
from .sampler_names import resolve_sampler
from .stages import ORIGINAL, Perturbation, Stages


@dataclass
class Seen:
    """Noise levels of a run's calls so far, and the techniques that were active in any of them.

    :param levels: highest and lowest level, ``None`` if none is known
    :param acted: names of techniques
    """

    levels: tuple[float, float] | None = None
    acted: set[str] = field(default_factory=set)

    def note(self, call: ModelCall, active: tuple[Stages, ...]) -> None:
        """Add a call."""
        self.acted.update(technique.name for technique in active)
        if call.sigma is not None:
            highest, lowest = self.levels or (call.sigma, call.sigma)
            self.levels = max(highest, call.sigma), min(lowest, call.sigma)


@dataclass(frozen=True)
class Plan:
    """The active techniques of a run, in the order in which they compose.

    :param recipe: ``sdfm`` or ``original``
    :param techniques: techniques that are on
    :param found: values of settings that the run finds while sampling, see :class:`ModelCall`
    :param seen: what the run has seen while sampling
    """

    recipe: str
    techniques: tuple[Stages, ...]
    found: dict[str, list] = field(default_factory=dict, compare=False)
    seen: Seen = field(default_factory=Seen, compare=False)

    def in_host_space(self, active: tuple[Stages, ...]) -> bool:
        """Return True if predictions stay in the sampler's own space (else they are x0 in float32)."""
        return self.recipe == ORIGINAL and not any(technique.combines() for technique in active)

    def computes_cfg(self, active: tuple[Stages, ...]) -> bool:
        """Return True if a technique computes CFG itself, for some images at least, in place of the host."""
        original = self.recipe == ORIGINAL
        ways = (
            (t.combines(), type(t).images_without_cfg is not Stages.images_without_cfg, original and t.replaces_cfg)
            for t in active
        )
        return any(any(way) for way in ways)

    def why_inert(self, technique: Stages, hires: bool) -> str | None:
        """Return why a technique has no effect in a pass, or ``None``."""
        rival = next((t for t in self.techniques if t.replaces_cfg), None)
        if self.recipe == ORIGINAL and rival is not None and technique.combines():
            return f"in the old extensions, {rival.label} computed CFG itself"
        return technique.inert(hires)

    def working(self, hires: bool) -> tuple[Stages, ...]:
        """Return the techniques that have an effect in a pass."""
        return tuple(t for t in self.techniques if self.why_inert(t, hires) is None)

    def active(self, call: ModelCall) -> tuple[Stages, ...]:
        """Return the techniques that are active in this call.

        :raises UnsupportedError: if one of them is made for flow models and the model is none
        """
        working = self.working(call.hires)
        unfit = [t.label for t in working if t.flow_only and not call.flow_model]
        if unfit:
            raise UnsupportedError(f"{', '.join(unfit)}: only for flow models, and this model isn't sampled with flow matching")
        active = tuple(t for t in working if t.active(call))
        self.seen.note(call, active)
        return active

    @property
    def needs_level(self) -> bool:
        """Return True if any technique needs the noise level of a call."""
        return any(technique.needs_level() for technique in self.techniques)

    def require_fits(self, denoiser: Any, sampler: str) -> None:
        """Raise :class:`UnsupportedError` if a technique leaves out unconditional rows that the sampler renoises with.

        :param denoiser: the host's CFG denoiser; such samplers of ours set its ``need_last_noise_uncond``
        :param sampler: the sampler's name; that of a host's own CFG++ sampler tells it alone
        """
        leaving = next((technique for technique in self.techniques if technique.leaves_out_uncond()), None)
        record = resolve_sampler(sampler).sampler
        renoises = denoiser.need_last_noise_uncond or (record is not None and record.cfg_unit != 1)
        if leaving is not None and renoises:
            raise UnsupportedError(
                f"{leaving.label}: {sampler} renoises with the unconditional prediction in every step. Choose another sampler"
            )

    @property
    def needs_ratio(self) -> bool:
        """True if any technique needs the step ratio."""
        return any(technique.needs_ratio for technique in self.techniques)


def main_perturbations(active: tuple[Stages, ...], call: ModelCall) -> list[Perturbation]:
    """Return the attention changes of the main prediction's unconditional rows."""
    return [change for t in active if (change := t.main_perturbation(call)) is not None]


def cross_editor(techniques: tuple[Stages, ...]) -> Stages | None:
    """Return the technique that edits cross-attention: only one can, as each compares with a text of its own."""
    return next((t for t in techniques if type(t).cross_attention is not Stages.cross_attention), None)


def skip_editors(active: tuple[Stages, ...]) -> tuple[Stages, ...]:
    """Return the techniques that edit decoder features."""
    return tuple(t for t in active if type(t).skip is not Stages.skip)


def perturbations(active: tuple[Stages, ...], call: ModelCall) -> dict[str, Perturbation]:
    """Return the extra predictions that this call needs, by the technique's name."""
    wanted = {technique.name: technique.perturbation(call) for technique in active}
    return {name: perturbation for name, perturbation in wanted.items() if perturbation is not None}


def guidance_scale(active: tuple[Stages, ...], scale: float, call: ModelCall) -> float:
    """Return the CFG scale of this call."""
    for technique in active:
        scale = technique.guidance_scale(scale, call)
        call = technique.after_scale(call)
    return 1.0 if all_without_cfg(active, call) else scale


def images_without_cfg(active: tuple[Stages, ...], call: ModelCall) -> list[bool]:
    """Return for each image if CFG is left out in this call; one value for all images, or none for no image."""
    return next((list(off) for technique in active if (off := technique.images_without_cfg(call))), [])


def all_without_cfg(active: tuple[Stages, ...], call: ModelCall) -> bool:
    """Return True if CFG is left out for all images in this call."""
    off = images_without_cfg(active, call)
    return bool(off) and all(off)


def compose(active: tuple[Stages, ...], prediction: Prediction, call: ModelCall, plain_cfg: Callable[[], Tensor]) -> Tensor:
    """Return the guided result of one call, ``(B, C, H, W)``.

    :param active: result of :meth:`Plan.active` for this call
    :param plain_cfg: the host's own combination, in the space of ``prediction``
    """
    for technique in active:
        call = technique.after_scale(call)
    for technique in active:
        technique.observe(prediction, call)
    denoised = next((d for t in active if (d := t.combine(prediction, call)) is not None), None)
    if denoised is None:
        denoised = plain_cfg()
    off = images_without_cfg(active, call)
    if any(off) and not all(off):
        images = zip(prediction.unguided(), denoised, off)
        denoised = torch.stack([unguided if is_off else guided for unguided, guided, is_off in images])
    for technique in active:
        denoised = technique.correct(denoised, prediction, call)
    for technique in active:
        denoised = technique.finish(denoised, prediction, call)
    for technique in active:
        denoised = technique.scale_noise(denoised, prediction, call)
    for technique in active:
        denoised = technique.renoise(denoised, prediction, call)
    return denoised
