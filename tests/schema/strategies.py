"""Settings, texts and payloads for property tests."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from lib_sdfm.errors import UserError
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.params import Param, params_of
from lib_sdfm.schema.settings import Schema, Settings, Values

HUGE = 10**400
"""Valid JSON, and no float."""

scalars = st.none() | st.booleans() | st.integers() | st.just(HUGE) | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars | st.sampled_from(["True", "1", "Version 2", "Constant"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip
"""Any JSON value, and the numbers that Python's parser takes besides."""

block = st.integers(0, 12)
span = st.tuples(block, block).map(sorted).map(lambda ends: f"{ends[0]}-{ends[1]}") | block.map(str)
inner = st.just("") | span.map(lambda text: f".{text}")
named = st.tuples(st.builds("{}.{}".format, st.sampled_from(["input", "output"]), block) | st.just("middle"), inner).map(
    "".join
)
counted = st.tuples(st.sampled_from("dmu"), span, inner).map("".join)
layer_texts = st.lists(named | counted, min_size=1, max_size=4).map(", ".join)
"""Texts of the layers' language."""


def allowed_values(param: Param) -> st.SearchStrategy:
    """Values that a setting may have."""
    if param.kind == "boolean":
        values = st.booleans()
    elif param.kind == "choice":
        values = st.sampled_from(param.choices)
    elif param.kind == "text":
        values = layer_texts
    elif param.kind == "integer":
        values = st.integers(int(param.minimum), int(param.maximum or 5000))
    else:
        end = param.slider_maximum or param.maximum
        values = st.floats(param.minimum, end) | st.integers(math.ceil(param.minimum), math.floor(end)).map(float)
    return values | st.none() if param.optional else values


MOST_TECHNIQUES = 8
"""Chosen for one example: enough for every pair of them to meet in a few hundred."""


@st.composite
def values_of(draw: st.DrawFn, schema: Schema) -> Values:
    """Values that make valid settings: what can't be had beside those chosen before it is left as it is by default."""
    recipe = draw(allowed_values(schema.by_id["recipe"].param))
    values: Values = {**schema.defaults(), "recipe": recipe}
    own = [technique for technique in schema.techniques if not technique.is_master]
    number = draw(st.integers(0, min(MOST_TECHNIQUES, len(own))))
    techniques = st.lists(st.sampled_from(own), unique=True, min_size=number, max_size=number)
    for technique in draw(techniques):
        params = [param for param in params_of(technique.Settings) if recipe in param.recipes]
        named = draw(st.lists(st.sampled_from(params), unique=True)) if params else []
        chosen = {f"{technique.name}.{param.name}": draw(allowed_values(param)) for param in named}
        chosen[f"{technique.name}.enabled"] = draw(st.booleans())
        try:
            schema.settings({**values, **chosen})
        except UserError:  # allowed alone and not together
            continue
        values.update(chosen)
    return values


def settings_of(schema: Schema) -> st.SearchStrategy[Settings]:
    """Validated settings, with what depends on the model filled in as for a run."""
    return values_of(schema).map(lambda values: schema.resolved(schema.settings(values), ModelFacts()))
