"""Store of the kinds of checkpoints, in a file of the extension."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib_sdfm.sampling.model_kind import FLOW, NOISE, ModelKind, V
from lib_sdfm.schema.files import write_json

ON, OFF = "On", "Off"
MODES = {FLOW: ON, NOISE: OFF, V: V}
"""Names of the kinds in the file; version 0.1 had the first two."""
KINDS = {mode: kind for kind, mode in MODES.items()}


@dataclass(frozen=True)
class Remembered:
    """Entry for a checkpoint.

    :param mode: On for a flow model, Off for an ordinary one, or v-prediction
    :param shift: shift of a flow model
    :param name: name by which the user knows it; for readers of the file
    :param zero_terminal_snr: true for a v model with zero terminal SNR
    """

    mode: str = OFF
    shift: float = 3.0
    name: str = ""
    zero_terminal_snr: bool = False

    @property
    def kind(self) -> str:
        """The name of its kind."""
        return KINDS[self.mode]


class KindMemory:
    """A JSON file of entries by the checkpoint's hash. It need not exist, and may be damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, checkpoint: str) -> Remembered | None:
        """Return the entry of a checkpoint, ``None`` if there is none."""
        return _entry(self._read().get(checkpoint))

    def kind(self, checkpoint: str) -> ModelKind | None:
        """Return the kind of a checkpoint that is remembered as another one than an ordinary one."""
        known = self.get(checkpoint)
        if known is None or known.kind == NOISE:
            return None
        return ModelKind(FLOW, shift=known.shift) if known.kind == FLOW else ModelKind(V, None, known.zero_terminal_snr)

    def shift(self, checkpoint: str) -> float | None:
        """Return the shift of a checkpoint that is remembered as a flow model."""
        kind = self.kind(checkpoint)
        return None if kind is None else kind.shift

    def put(self, checkpoint: str, remembered: Remembered) -> None:
        """Save an entry atomically; a damaged file is kept beside the new one."""
        known = self._read(keep_damaged=True)
        write_json(self._path, {**known, checkpoint: asdict(remembered)})

    def forget(self, checkpoint: str) -> None:
        """Remove the entry of a checkpoint."""
        known = self._read(keep_damaged=True)
        if known.pop(checkpoint, None) is not None:
            write_json(self._path, known)

    def _read(self, keep_damaged: bool = False) -> dict[str, Any]:
        try:
            known = json.loads(self._path.read_text(encoding="utf8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (ValueError, OSError, RecursionError) as error:
            known = error
        if isinstance(known, dict):
            return known
        print(f"SDFM: {self._path.name} is damaged, no checkpoint's kind is remembered")
        if keep_damaged:
            os.replace(self._path, self._path.with_suffix(".damaged"))
        return {}


def _entry(said: Any) -> Remembered | None:
    """Return an entry of the file, ``None`` if it is invalid."""
    if not isinstance(said, dict) or not isinstance(said.get("mode"), str) or said["mode"] not in KINDS:
        return None
    shift, zero = said.get("shift", 3.0), said.get("zero_terminal_snr", False)
    if isinstance(shift, bool) or not isinstance(shift, int | float) or not 0.1 <= shift <= 100:
        return None
    if not isinstance(zero, bool) or (zero and KINDS[said["mode"]] != V):
        return None
    return Remembered(said["mode"], float(shift), str(said.get("name", "")), zero)
