"""Requests with as many techniques as can be on together, from what techniques declare."""

from __future__ import annotations

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import UserError
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.stages import ORIGINAL, SDFM
from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.request import apply_request

Request = dict[str, bool | str]


def together(*names: str, recipe: str = SDFM) -> Request:
    """Return the techniques of these names, as far as they can be on together: of two that exclude each other the first.

    :param names: if there are none all techniques that any model can have, in the order of the panel
    """
    request: Request = {} if recipe == SDFM else {"recipe": recipe}
    for name in names or [technique.name for technique in SCHEMA.techniques if not is_flow_only(technique)]:
        if is_possible({**request, name: True}):
            request[name] = True
    return request


def is_flow_only(technique: type[Feature]) -> bool:
    """Return True if a technique is refused with models that are no flow models."""
    return issubclass(technique, Technique) and technique.flow_only


def is_possible(request: Request) -> bool:
    """Return True if a request is not refused."""
    try:
        SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), request))
    except UserError:
        return False
    return True


def in_original() -> list[str]:
    """Return the names of the techniques that recipe original has."""
    return [technique.name for technique in SCHEMA.techniques if ORIGINAL in technique.recipes]
