"""The API's ``infotext`` field: a request filled from generation parameters, by the fields that pasting uses."""

from __future__ import annotations

from typing import Any

from modules import infotext_utils


def _value(field: Any, params: dict[str, Any], kind: type) -> Any:
    """As A1111 has it: cast without mercy, so that ``bool("False")`` is true and ``int("1.5")`` fails the request."""
    value = field.function(params) if field.function else params.get(field.label)
    if value is None or kind is type(None):
        return None
    if isinstance(value, dict) and value.get("__type__") == "generic_update":
        value = value.get("value")
    return value if value is None or isinstance(value, kind) else kind(value)


def apply_infotext(request: Any, tabname: str, runner: Any) -> dict[int, Any]:
    """Fills what the request leaves open; returns arguments of scripts by their index. Pasting callbacks are not called."""
    if not request.infotext:
        return {}
    fields = infotext_utils.paste_fields[tabname]["fields"]
    params = infotext_utils.parse_generation_parameters(request.infotext)
    given = request.given()
    for field in fields:
        if not field.api or field.api in given:
            continue
        value = _value(field, params, type(field.component.value))
        if value is not None:
            setattr(request, field.api, value)
    request.override_settings = dict(request.override_settings or {})
    for _, name, value in infotext_utils.get_override_settings(params):
        request.override_settings.setdefault(name, value)
    places = {component: index for index, component in enumerate(runner.inputs) if component is not None}
    arguments = {}
    for field in fields:
        if field.component in places:
            value = _value(field, params, type(field.component.value))
            if value is not None:
                arguments[places[field.component]] = value
    return arguments
