"""Failures in an unexpected host: harmless for jobs that don't use SDFM, else an error that names the cause."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lib_sdfm.errors import UnsupportedError, UserError
from lib_sdfm.prompts.edits import MARK, find_edits
from lib_sdfm.prompts.stored import KINDS, passes_of
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Schema

from .axes import axes_of_job

LOG = logging.getLogger("sdfm")
_said: set[str] = set()


def asks_for_nothing(schema: Schema, p: Any, args: Sequence[Any]) -> bool:
    """Return True if a job doesn't use SDFM: neither in its arguments, nor in a plot, nor by a mark in its prompts."""
    try:
        settings = resolve_job(schema, args, (), axes_of_job(p)).settings
    except UserError:
        return False
    prompts = [
        (text, negative)
        for prefix in passes_of(p)
        for kind, negative in KINDS.items()
        for text in getattr(p, prefix + kind, None) or ()
    ]
    marked = any(edit.text == MARK for text, negative in prompts for edit in find_edits(str(text), negative))
    return not settings.techniques and not marked


def missing_in_host(problem: Exception) -> UnsupportedError:
    """Return the error for a job that needs something that this WebUI lacks, or has in another form."""
    error = UnsupportedError(
        f"this WebUI differs from what SDFM expects ({described(problem)}), so the picture can't be made as requested. "
        "Turn off everything in SDFM to make it without, and please report this with the WebUI's version"
    )
    error.__cause__ = problem
    return error


def stand_aside(problem: Exception) -> None:
    """Log, once per problem, that jobs without SDFM continue although the host is not as expected."""
    line = f"SDFM: this WebUI differs from what SDFM expects ({described(problem)}); nothing in SDFM is on, so it does nothing"
    if line not in _said:
        _said.add(line)
        LOG.warning(line)


@contextmanager
def harmless() -> Iterator[None]:
    """Suppress failures of a block caused by the host, for jobs that don't use SDFM. A :class:`UserError` is raised."""
    try:
        yield
    except UserError:
        raise
    except Exception as problem:
        stand_aside(problem)


@contextmanager
def explained() -> Iterator[None]:
    """Convert failures of a block caused by the host to an error that names the cause, for jobs that use SDFM.

    :raises UnsupportedError: in place of any exception but a :class:`UserError`
    """
    try:
        yield
    except UserError:
        raise
    except Exception as problem:
        raise missing_in_host(problem) from problem


def described(problem: Exception) -> str:
    """Return type, message and location of an exception, in one line."""
    frames = traceback.extract_tb(problem.__traceback__)
    place = f", {frames[-1].filename.replace(chr(92), '/').rsplit('/', 1)[-1]} line {frames[-1].lineno}" if frames else ""
    return f"{type(problem).__name__}: {problem}{place}"
