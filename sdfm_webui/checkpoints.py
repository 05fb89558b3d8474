"""Checkpoints as the host knows them: name, id, and what their files say about their kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.sampling.model_kind import FLOW, NOISE, V
from lib_sdfm.schema.checkpoint_file import marks_of

METADATA_KEYS = ("modelspec.prediction_type", "modelspec.prediction", "prediction_type", "model_type")
WORDS = {"flow": FLOW, "rectified": FLOW, "eps": NOISE, "noise": NOISE, "v": V}
"""Words by which metadata name a kind; the first that is found counts, the last one only as the beginning."""


@dataclass(frozen=True)
class FileSays:
    """The words of a checkpoint's file about its kind.

    :param kind: name of the kind, ``None`` if it doesn't say
    :param zero_terminal_snr: true if it was trained with zero terminal SNR, ``None`` if the file doesn't say
    :param why: where it says so, in words
    """

    kind: str | None = None
    zero_terminal_snr: bool | None = None
    why: str = "its file doesn't say"


def file_says(model: Any) -> FileSays:
    """Return what the file of a loaded model's checkpoint says: its marks count more than its metadata."""
    info = getattr(model, "sd_checkpoint_info", None)
    marks = marks_of(getattr(info, "filename", None))
    zero = True if marks.ztsnr else None
    if marks.v_pred:
        names = "v_pred and ztsnr" if marks.ztsnr else "v_pred"
        return FileSays(V, marks.ztsnr, f"its file says so (marks: {names})")
    metadata = getattr(info, "metadata", None)
    for key in METADATA_KEYS:
        said = str(metadata.get(key, "")) if isinstance(metadata, dict) else ""
        kind = _kind_in(said.lower())
        if kind is not None:
            return FileSays(kind, zero, f"its file says so ({key}: {said})")
    return FileSays(None, zero)


def _kind_in(said: str) -> str | None:
    return next((kind for word, kind in WORDS.items() if (said.startswith(word) if word == "v" else word in said)), None)


def require_loaded(model: Any) -> Any:
    """Return the model.

    :raises UnsupportedError: if none is loaded; Forge loads it with the first picture
    """
    if getattr(model, "sd_checkpoint_info", None) is None:
        raise UnsupportedError("Model kind: no checkpoint is loaded yet. Make a picture first")
    return model


def name_of(model: Any) -> str:
    """Return the name by which the user knows a checkpoint."""
    info = getattr(model, "sd_checkpoint_info", None)
    return str(getattr(info, "name_for_extra", None) or getattr(info, "name", None) or "This checkpoint")


def checkpoint_of(model: Any) -> str:
    """Return the id of a model's checkpoint, as :func:`checkpoint_id` does; empty if none is loaded."""
    return checkpoint_id(getattr(model, "sd_checkpoint_info", None))


def checkpoint_id(info: Any) -> str:
    """Return what identifies a checkpoint: its hash, or its name where the host makes no hash.

    :param info: the host's record of a checkpoint
    """
    return str(getattr(info, "sha256", None) or getattr(info, "shorthash", None) or getattr(info, "name", ""))
