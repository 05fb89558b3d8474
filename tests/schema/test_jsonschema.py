"""The published JSON Schema accepts what we accept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError
from lib_sdfm.schema.jsonschema import json_schema
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Schema
from tests.schema.alone import PAG_ONLY
from tests.schema.strategies import allowed_values, settings_of

VALIDATORS = {schema: Draft202012Validator(json_schema(schema)) for schema in (PAG_ONLY, SCHEMA)}

near_values = (
    st.none() | st.booleans() | st.integers(-2, 200) | st.floats(-2, 120) | st.sampled_from(["sdfm", "original", "middle", ""])
)
"""Values around what settings allow; texts that are layers or not, never nearly."""


def accepted(schema: Schema, request_: Any) -> bool:
    try:
        resolve_job(schema, [request_])
        return True
    except SettingError:
        return False


@pytest.mark.parametrize("schema", [PAG_ONLY, SCHEMA], ids=["PAG", "all"])
def test_it_is_a_json_schema(schema: Schema):
    Draft202012Validator.check_schema(json_schema(schema))
    assert json_schema(schema)["x-positional"] == schema.position_names


@given(settings_of(SCHEMA))
def test_it_accepts_every_settings(settings: Any):
    request_ = {"recipe": settings.recipe, **{name: vars(own) for name, own in settings.techniques.items()}}
    assert VALIDATORS[SCHEMA].is_valid(request_)


@given(st.sampled_from([f.param.name for f in PAG_ONLY.fields if f.technique]) | st.just("other"), near_values)
def test_it_accepts_and_refuses_what_we_do(name: str, value: Any):
    if name == "layers" and value != "middle":
        value = 3  # the language of layers is beyond JSON Schema
    request_ = {"pag": {name: value}}
    assert VALIDATORS[PAG_ONLY].is_valid(request_) == accepted(PAG_ONLY, request_)


@given(st.sampled_from(["pag", "recipe", "other"]), near_values | st.just({}) | st.just([]))
def test_it_accepts_and_refuses_techniques_as_we_do(name: str, value: Any):
    assert VALIDATORS[PAG_ONLY].is_valid({name: value}) == accepted(PAG_ONLY, {name: value})


@given(st.data())
def test_it_accepts_every_single_value_that_we_accept(data: st.DataObject):
    field = data.draw(st.sampled_from([f for f in SCHEMA.fields if f.role == "setting"]))
    request_ = {field.technique.name: {field.param.name: data.draw(allowed_values(field.param) | near_values)}}
    assert VALIDATORS[SCHEMA].is_valid(request_) or not accepted(SCHEMA, request_)


@pytest.mark.parametrize("field", [f for f in SCHEMA.fields if f.role == "setting"], ids=lambda f: f.id)
def test_each_property_is_described(field: Any):
    described = json_schema(SCHEMA)["properties"][field.technique.name]["anyOf"][0]["properties"][field.param.name]
    assert described["description"] and described["title"]
    assert Draft202012Validator(described).is_valid(described["default"])
