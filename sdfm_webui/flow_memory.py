"""Store of checkpoints known to be flow models, in a file of the extension."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib_sdfm.schema.files import write_json

ON, OFF = "On", "Off"


@dataclass(frozen=True)
class Remembered:
    """Entry for a checkpoint.

    :param mode: On or Off
    :param shift: its shift
    :param name: name by which the user knows it; for readers of the file
    """

    mode: str = OFF
    shift: float = 3.0
    name: str = ""


class FlowMemory:
    """A JSON file of entries by the checkpoint's hash. It need not exist, and may be damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, checkpoint: str) -> Remembered | None:
        """Return the entry of a checkpoint, ``None`` if there is none."""
        return _entry(self._read().get(checkpoint))

    def shift(self, checkpoint: str) -> float | None:
        """Return the shift of a checkpoint that is remembered as a flow model."""
        known = self.get(checkpoint)
        return known.shift if known is not None and known.mode == ON else None

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
        print(f"SDFM: {self._path.name} is damaged, no checkpoint is remembered as a flow model")
        if keep_damaged:
            os.replace(self._path, self._path.with_suffix(".damaged"))
        return {}


def _entry(said: Any) -> Remembered | None:
    """Return an entry of the file, ``None`` if it is invalid."""
    if not isinstance(said, dict) or said.get("mode") not in (ON, OFF):
        return None
    shift = said.get("shift", 3.0)
    if isinstance(shift, bool) or not isinstance(shift, int | float) or not 0.1 <= shift <= 100:
        return None
    return Remembered(said["mode"], float(shift), str(said.get("name", "")))
