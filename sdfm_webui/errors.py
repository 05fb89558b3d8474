"""The error class that users and API clients see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from lib_sdfm.errors import UserError

UNPROCESSABLE = 422


class SdfmError(HTTPException):
    """Invalid or unsupported request. The API answers 422 with it, the panel shows its text."""

    def __init__(self, message: str) -> None:
        super().__init__(status_code=UNPROCESSABLE, detail=f"SDFM: {message}")

    def __str__(self) -> str:
        return str(self.detail)


@contextmanager
def shown_to_user() -> Iterator[None]:
    """Convert the library's errors to the one that the hosts show.

    :raises SdfmError: in place of any :class:`UserError`
    """
    try:
        yield
    except UserError as error:
        raise SdfmError(str(error)) from error
