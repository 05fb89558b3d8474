"""``--api-auth``."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials


def route_options(accounts: str | None) -> dict[str, Any]:
    """Return the arguments with which every route of the API is added."""
    if not accounts:
        return {}
    passwords = dict(account.split(":", 1) for account in accounts.split(","))

    def check(given: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:
        expected = passwords.get(given.username)
        if expected is None or not secrets.compare_digest(given.password.encode(), expected.encode()):
            raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})

    return {"dependencies": [Depends(check)]}
