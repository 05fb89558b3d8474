"""``GET /sdfm/v1/schema`` and ``POST /sdfm/v1/explain``."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Any

from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from lib_sdfm import __version__
from lib_sdfm.planning.explain import explain_infotext, explain_payload
from lib_sdfm.schema.infotext import FORMAT
from lib_sdfm.schema.jsonschema import json_schema
from lib_sdfm.schema.settings import Schema

from .errors import SdfmError

PREFIX = "/sdfm/v1"


def add_routes(schema: Schema, app: FastAPI, claimed: Callable[[], Collection[str]] = frozenset, **options: Any) -> None:
    """Add our routes to the host's server.

    :param claimed: returns the keys that the host pastes itself
    :param options: passed on to each route (``dependencies`` for the host's authentication)
    """

    def describe() -> dict[str, Any]:
        return {"version": __version__, "format": FORMAT, **json_schema(schema)}

    def explain(body: dict[str, Any] = Body(...)) -> dict[str, Any]:
        if isinstance(body.get("infotext"), str) and "alwayson_scripts" not in body:
            return explain_infotext(schema, body["infotext"], claimed())
        if isinstance(body.get("alwayson_scripts"), dict):
            return explain_payload(schema, body, claimed())
        raise SdfmError("explain: the body needs `infotext`, a text, or `alwayson_scripts` as in /sdapi/v1/txt2img")

    app.add_api_route(f"{PREFIX}/schema", describe, methods=["GET"], **options)
    app.add_api_route(f"{PREFIX}/explain", explain, methods=["POST"], **options)


def authentication(cmd_opts: Any) -> dict[str, Any]:
    """Return route options that require the same user names and passwords as the host's own API (``--api-auth``)."""
    accounts = getattr(cmd_opts, "api_auth", None)
    if not accounts:
        return {}
    passwords = dict(account.split(":", 1) for account in accounts.split(","))

    def check(given: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:
        known = passwords.get(given.username, "")
        if not known or not secrets.compare_digest(given.password.encode(), known.encode()):
            raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})

    return {"dependencies": [Depends(check)]}
