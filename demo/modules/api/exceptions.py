"""Exceptions as answers: a ``status_code`` and ``detail`` of theirs are the answer's, else it is 500."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from starlette.responses import Response

from modules import errors


def _answer(request: Request, error: Exception) -> JSONResponse:
    facts: dict[str, Any] = vars(error)
    body = {
        "error": type(error).__name__,
        "detail": facts.get("detail", ""),
        "body": facts.get("body", ""),
        "errors": str(error),
    }
    if not isinstance(error, HTTPException):
        errors.report(f"API error: {request.method}: {request.url} {body}", exc_info=True)
    return JSONResponse(jsonable_encoder(body), facts.get("status_code", 500), headers=facts.get("headers"))


def answer_exceptions(app: FastAPI) -> None:
    """For all routes of an app."""

    @app.middleware("http")
    async def answer_any(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            return await call_next(request)
        except Exception as error:
            return _answer(request, error)

    @app.exception_handler(HTTPException)
    async def answer_http(request: Request, error: HTTPException) -> JSONResponse:
        return _answer(request, error)
