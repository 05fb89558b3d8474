"""Marks in the header of a checkpoint's file (safetensors), by which it says what kind of model it is.

They are empty tensors named ``v_pred`` and ``ztsnr``, as Forge, reForge and ComfyUI read them. The header is a length of eight
bytes, little-endian, and JSON of that length; the tensors behind it are not read.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass

LONGEST_HEADER = 100_000_000
"""Limit of the format itself, in bytes."""
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Marks:
    """Marks of a checkpoint.

    :param v_pred: true if it is a v-prediction model
    :param ztsnr: true if it was trained with zero terminal SNR
    """

    v_pred: bool = False
    ztsnr: bool = False


def marks_of(path: str | None) -> Marks:
    """Return the marks of a file; none for a file that can't be read or has no such header."""
    try:
        state = os.stat(path)
        return _marks(path, state.st_mtime_ns, state.st_size)
    except (OSError, TypeError, ValueError, RecursionError):
        return Marks()


@functools.lru_cache(maxsize=64)
def _marks(path: str, changed: int, size: int) -> Marks:
    """Return the marks of a file as it was when it was changed last."""
    if not path.lower().endswith(SUFFIX):
        return Marks()
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            return Marks()
        header = json.loads(file.read(length))
    return Marks("v_pred" in header, "ztsnr" in header) if isinstance(header, dict) else Marks()
