"""Detecting, remembering and forgetting the kind of the loaded checkpoint; what counts for it, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lib_sdfm.errors import SettingError, UserError
from lib_sdfm.ops.flow_probe import EPS
from lib_sdfm.ops.flow_probe import FLOW as FLOW_VELOCITY
from lib_sdfm.ops.flow_probe import V as V_PREDICTION
from lib_sdfm.sampling.model_kind import FLOW, NOISE, V
from lib_sdfm.schema.params import params_of
from lib_sdfm.techniques.flow import AUTO, FlowSettings
from lib_sdfm.techniques.model_kind import AUTOMATIC, ModelKindSettings

from .checkpoints import checkpoint_of, file_says, name_of, require_loaded
from .kind_memory import KINDS, MODES, Remembered
from .model_kinds import KindHost, described

FLOW_PARAMS, KIND_PARAMS = ({p.name: p for p in params_of(settings)} for settings in (FlowSettings, ModelKindSettings))
PREDICTED = {EPS: (NOISE, "noise"), V_PREDICTION: (V, "v"), FLOW_VELOCITY: (FLOW, "a flow model's velocity")}
PART_TITLE = "Model kind"


def remember(host: KindHost, kind: str, shift: float = 3.0, zero_terminal_snr: bool = False) -> str:
    """Remember the loaded checkpoint's kind; return what was done, in words.

    :raises SettingError: for an invalid value
    :raises UnsupportedError: if no checkpoint is loaded
    """
    model = require_loaded(host.loaded())
    kind, shift = KIND_PARAMS["kind"].check(kind), FLOW_PARAMS["shift"].check(shift)
    zero = KIND_PARAMS["zero_terminal_snr"].check(zero_terminal_snr)
    if kind == AUTOMATIC:
        return forget(host)
    if zero and kind != V:
        raise SettingError("Zero Terminal SNR", True, f"only False with Model Kind {kind}")
    name = name_of(model)
    host.memory.put(checkpoint_of(model), Remembered(MODES[kind], shift, name, zero))
    more = {FLOW: f" with shift {shift:g}", V: " with zero terminal SNR" if zero else ""}.get(kind, "")
    return f"{name} is remembered as {described(kind)}{more}. It applies unless another kind is chosen.{_warning(host, kind)}"


def remember_mode(host: KindHost, mode: str, shift: float) -> str:
    """Remember the loaded checkpoint as a flow model or an ordinary one, by the modes of flow matching."""
    mode = FLOW_PARAMS["mode"].check(mode)
    return remember(host, AUTOMATIC if mode == AUTO else KINDS[mode], shift)


def forget(host: KindHost) -> str:
    """Forget the loaded checkpoint; return what was done, in words.

    :raises UnsupportedError: if no checkpoint is loaded
    """
    model = require_loaded(host.loaded())
    host.memory.forget(checkpoint_of(model))
    return f"{name_of(model)} is forgotten: the WebUI decides how it is sampled."


def detect(host: KindHost) -> dict[str, Any]:
    """Return the detected kind of the loaded checkpoint, and why; ``None`` for what is unknown.

    :raises UnsupportedError: if no checkpoint is loaded
    """
    model = require_loaded(host.loaded())
    said = file_says(model)
    kind, why, own = said.kind, said.why, host.taken_for(model)
    if kind is None and own == FLOW:
        kind, why = FLOW, "the WebUI recognises it by itself"
    elif kind is None and host.probe is not None:
        asked = host.probe(model)
        predicted, what = PREDICTED[asked.kind]
        kind = predicted if asked.sure else None
        why = f"given noisy pictures, it predicts {what}" + ("" if asked.sure else ", but not clearly")
    known = host.memory.get(checkpoint_of(model))
    return {
        "checkpoint": name_of(model), "kind": kind, "zero_terminal_snr": said.zero_terminal_snr, "why": why,
        "by_webui": own, "remembered": None if known is None else entry(known),
    }  # fmt: skip


def entry(known: Remembered) -> dict[str, Any]:
    """Return what is remembered of a checkpoint, in the words of the API."""
    return {"kind": known.kind, "shift": known.shift, "zero_terminal_snr": known.zero_terminal_snr}


def as_flow(host: KindHost, found: dict[str, Any]) -> dict[str, Any]:
    """Return a detection in the form of ``/sdfm/v1/flow``: a flow model or not."""
    known = host.memory.get(checkpoint_of(host.loaded()))
    is_flow = None if found["kind"] is None else found["kind"] == FLOW
    return {
        "checkpoint": found["checkpoint"], "flow": is_flow, "why": found["why"],
        "remembered": None if known is None else {"mode": known.mode, "shift": known.shift},
    }  # fmt: skip


def proposal(found: dict[str, Any]) -> str:
    """Return what was detected about a checkpoint, and what to do."""
    kind, known, own = found["kind"], found["remembered"], found["by_webui"]
    zero = ", zero terminal SNR" if found["zero_terminal_snr"] else ""
    said = f"{found['checkpoint']}: {'unknown' if kind is None else described(kind)}{zero}; {found['why']}."
    said += f" Remembered: {_in_words(known)}." if known else " Nothing is remembered for it."
    if known and kind not in (None, known["kind"]):
        return f"{said} The two contradict each other; if its author says {described(kind)}, choose that and press Remember."
    if kind is not None and kind == (own or NOISE):
        return f"{said} The WebUI already samples it that way; nothing needs to be chosen."
    return f"{said} Choose the kind that its author states, and press Remember." if kind != NOISE or own else said


@dataclass(frozen=True)
class Counts:
    """The kind that counts for a checkpoint.

    :param short: the kind, in a few words
    :param why: where it comes from
    :param warning: what speaks against it, in a few words
    """

    short: str
    why: str
    warning: str = ""


def what_counts(host: KindHost, model: Any, asked: str | None) -> Counts | None:
    """Return the kind that counts for a checkpoint, ``None`` if there is no checkpoint.

    :param model: the loaded model, ``None`` if there is none
    :param asked: the kind that the controls ask for
    """
    if asked is not None:
        return Counts(asked, "chosen here")
    if getattr(model, "sd_checkpoint_info", None) is None:
        return None
    known, said, own = host.memory.get(checkpoint_of(model)), file_says(model), host.taken_for(model)
    if known is not None and (known.kind != NOISE or own is None):  # Noise says that it is no other kind of ours
        return Counts(_in_words(entry(known)), "remembered")
    if own is not None:
        return Counts(own, "decided by the WebUI")
    if said.kind in (None, NOISE):
        return Counts(NOISE, "decided by the WebUI")
    warning = f"its file says {said.kind}"
    return Counts(NOISE, f"decided by the WebUI; {warning}: press Detect", warning)


def title(host: KindHost, model: Any, asked: str | None) -> str:
    """Return what counts for a checkpoint, and why; the arguments are those of :func:`what_counts`."""
    counts = what_counts(host, model, asked)
    return PART_TITLE if counts is None else f"{PART_TITLE}: {counts.short}, {counts.why}"


def _in_words(known: dict[str, Any]) -> str:
    more = {FLOW: f", shift {known['shift']:g}", V: ", zero terminal SNR" if known["zero_terminal_snr"] else ""}
    return f"{known['kind']}{more.get(known['kind'], '')}"


def doubt(host: KindHost, kind: str, detected: Mapping[str, str | None] = MappingProxyType({})) -> str:
    """Return why the loaded checkpoint is probably of another kind; empty if nothing speaks against it.

    :param detected: kinds that were detected before, by the checkpoint's name
    :raises UnsupportedError: if no checkpoint is loaded
    """
    model = require_loaded(host.loaded())
    said, found = file_says(model), detected.get(name_of(model))
    if said.kind not in (None, kind):
        return f"Its file says otherwise: {described(said.kind)}."
    return f"Detect found {described(found)}." if found not in (None, kind) else ""


def _warning(host: KindHost, kind: str) -> str:
    why = doubt(host, kind)
    return f" {why}" if why else ""


def chosen(model_on: bool, kind: str, flow_on: bool, mode: str) -> str | None:
    """Return the kind that the controls ask for, ``None`` if what is remembered counts.

    :raises UserError: if they ask for two
    """
    by_flow = KINDS.get(mode) if flow_on else None
    by_kind = kind if model_on and kind != AUTOMATIC else None
    if by_flow is not None and by_kind is not None and (by_flow == FLOW) != (by_kind == FLOW):
        raise UserError(f"Model kind {kind} and Flow matching {mode} contradict each other. Turn off one of them")
    return by_kind or by_flow
