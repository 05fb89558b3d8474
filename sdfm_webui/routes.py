"""``GET /sdfm/v1/schema`` and ``POST /sdfm/v1/explain``."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Any

from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from lib_sdfm import __version__
from lib_sdfm.planning.explain import explain_infotext, explain_payload
from lib_sdfm.schema.host_names import HostNames
from lib_sdfm.schema.infotext import FORMAT
from lib_sdfm.schema.jsonschema import json_schema
from lib_sdfm.schema.settings import Schema
from lib_sdfm.schema.shapes import TITLE

from .errors import SdfmError

PREFIX = "/sdfm/v1"
REQUEST_FIELDS = {
    "alwayson_scripts",
    "prompt",
    "negative_prompt",
    "sampler_name",
    "scheduler",
    "steps",
    "cfg_scale",
    TITLE,
    TITLE.lower(),
}
"""Fields by which a request of the host's API is known."""


def add_routes(
    schema: Schema,
    app: FastAPI,
    claimed: Callable[[], Collection[str]] = frozenset,
    names: Callable[[], HostNames] = HostNames,
    whole_passes: Callable[[], dict[str, Any]] = dict,
    **options: Any,
) -> None:
    """Add our routes to the host's server.

    :param claimed: returns the keys that the host pastes itself
    :param names: returns the names that the host looks up
    :param whole_passes: returns who has changed the loaded UNet, so that perturbed predictions are whole
    :param options: passed on to each route (``dependencies`` for the host's authentication)
    """

    def describe() -> dict[str, Any]:
        return {"version": __version__, "format": FORMAT, **json_schema(schema)}

    def explain(body: dict[str, Any] = Body(...)) -> dict[str, Any]:
        if set(body) == {"infotext"} and isinstance(body["infotext"], str):
            return {**explain_infotext(schema, body["infotext"], claimed(), names()), "whole_passes": whole_passes()}
        if isinstance(body.get("infotext"), str) or REQUEST_FIELDS & set(body):
            return {**explain_payload(schema, body, claimed(), names()), "whole_passes": whole_passes()}
        raise SdfmError("explain: the body must contain `infotext` (a text) or a request with `alwayson_scripts`")

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
