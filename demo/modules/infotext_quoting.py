"""Quotes of values in generation parameters."""

from __future__ import annotations

import json
from typing import Any


def quote(value: Any) -> Any:
    """JSON for what has a comma, colon or line break in it; quotation marks and brackets alone stay bare."""
    return json.dumps(value, ensure_ascii=False) if any(mark in str(value) for mark in ",\n:") else value


def unquote(text: str) -> Any:
    """Return quoted text without its quotes, anything else as it is."""
    if len(text) < 2 or not (text[0] == text[-1] == '"'):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
