"""Files that hold what the user keeps."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all: a failure leaves the earlier file as it is, and no other beside it."""
    with tempfile.NamedTemporaryFile("w", encoding="utf8", dir=path.parent, delete=False) as file:
        written = Path(file.name)
        try:
            json.dump(content, file, indent=2, ensure_ascii=False)
        except BaseException:
            file.close()
            written.unlink()
            raise
    os.replace(written, path)
