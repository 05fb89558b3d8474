"""Errors that the host swallows: printed, and kept for whoever wants to look."""

from __future__ import annotations

import sys
import traceback

exception_records: list[str] = []
"""The last swallowed errors, newest last."""
KEPT = 20


def report(message: str, *, exc_info: bool = False) -> None:
    """Prints a message, with the exception that is being handled if asked for."""
    text = message if not exc_info else f"*** {message}\n{traceback.format_exc()}"
    print(text, file=sys.stderr)
    exception_records.append(text)
    del exception_records[:-KEPT]


def display(error: Exception, task: str) -> None:
    """Prints an exception that ends one part of a task, such as a cell of a plot."""
    report(f"{task}: {type(error).__name__}: {error}", exc_info=True)
