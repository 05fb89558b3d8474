"""A request is taken exactly as it is written, or refused with its name: never in part, never something near it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import UserError
from lib_sdfm.planning.plan import plan_of
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.infotext import our_keys, read_infotext, write_infotext
from lib_sdfm.schema.params import Param, params_of
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Settings
from tests.schema.strategies import allowed_values, anything, settings_of

GUIDING = [t for t in SCHEMA.techniques if not t.on_by_default]
PARAMS = [(t, p) for t in GUIDING for p in params_of(t.Settings)]
BY_KEY = {p.key: (t, p) for t, p in PARAMS if not p.composite}
numbers = st.floats(-50, 200).map(lambda x: str(round(x, 3))) | st.integers(-2, 3000).map(str)
words = numbers | st.sampled_from(["True", "False", "MEAN", "Linear", "Power Up", "middle", "d2.2-9,m0", "output.3", "1", ""])


def near(param: Param) -> st.SearchStrategy:
    """Values of a setting as texts, some of them just outside of what is allowed."""
    return allowed_values(param).map(str) | words | st.text(max_size=4)


@st.composite
def texts(draw: st.DrawFn) -> dict[str, str]:
    """Texts of ours with some of a technique's keys."""
    pairs = {"SDFM": "1"}
    for technique in draw(st.sets(st.sampled_from(GUIDING), min_size=1, max_size=2)):
        plain = [p for t, p in PARAMS if t is technique and not p.composite]
        pairs[technique.active_key] = "True"
        for param in draw(st.sets(st.sampled_from(plain or [None]), max_size=3)):
            if param is not None:
                pairs[param.key] = draw(near(param))
    return pairs


def same(text: str, value: Any) -> bool:
    """Return True if a text says a value."""
    if isinstance(value, bool):
        return text.strip() in (str(value), str(value).lower())
    return text.strip() == value if isinstance(value, str) else value is not None and float(text) == float(value)


@settings(max_examples=200)
@given(texts())
def test_a_text_is_taken_as_it_is_written_or_refused_by_name(pairs: dict[str, str]):
    reading = read_infotext(SCHEMA, pairs)
    if reading.errors:
        labels = [t.label for t in GUIDING if t.active_key in pairs]  # of two that exclude each other
        assert all(any(name in error for name in (*pairs, *labels)) for error in reading.errors)
        return
    chosen = SCHEMA.settings(reading.values).techniques
    for key, (technique, param) in BY_KEY.items():
        if key in pairs:
            assert same(pairs[key], getattr(chosen[technique.name], param.name)), key


@given(settings_of(SCHEMA), st.data())
def test_one_wrong_word_in_a_good_text_is_refused_by_name(good: Settings, data: st.DataObject):
    """And what is written of it can't be taken for something else: the key is named, or nothing changes."""
    pairs = {key: str(value) for key, value in write_infotext(SCHEMA, good).items()}
    changeable = [key for key in pairs if key in BY_KEY]
    if not changeable:
        return
    key = data.draw(st.sampled_from(changeable))
    pairs[key] = data.draw(words)
    reading = read_infotext(SCHEMA, pairs)
    technique, param = BY_KEY[key]
    if reading.errors:
        assert any(key in error for error in reading.errors)
    else:
        assert same(pairs[key], getattr(SCHEMA.settings(reading.values).techniques[technique.name], param.name))


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Dictionaries of the API: mostly allowed values, in names that exist."""
    request: dict[str, Any] = {}
    for technique in draw(st.sets(st.sampled_from(GUIDING), min_size=1, max_size=3)):
        params = params_of(technique.Settings)
        chosen = draw(st.sets(st.sampled_from(params), max_size=4)) if params else ()
        request[technique.name] = {p.name: draw(allowed_values(p) | anything) for p in chosen}
    if draw(st.booleans()):
        request["recipe"] = draw(st.sampled_from(["sdfm", "original"]))
    return request


@settings(max_examples=200)
@given(requests())
def test_a_dictionary_is_taken_as_it_is_written_or_refused_by_name(request: dict[str, Any]):
    try:
        chosen = resolve_job(SCHEMA, [request]).settings
    except UserError as error:
        assert _names_something_of(request, str(error))
        return
    assert chosen.recipe == request.get("recipe", "sdfm")
    asked = {name: said for name, said in request.items() if name != "recipe"}
    assert set(chosen.techniques) == set(asked)
    for name, said in asked.items():
        for setting, value in said.items():
            got = getattr(chosen.techniques[name], setting)
            assert got == (value.strip() if isinstance(value, str) else value), (name, setting)


def _names_something_of(request: dict[str, Any], error: str) -> bool:
    """Return True if an error names a technique, a setting or a key of the request."""
    names: set[str] = {"Recipe"} if "recipe" in request else set()
    for name, said in request.items():
        if isinstance(said, dict):
            params = {p.name: p for t, p in PARAMS if t.name == name}
            names |= {f"{name}.{setting}" for setting in said} | {params[setting].key for setting in said}
            names |= {params[setting].label for setting in said}
            names |= {t.label for t in GUIDING if t.name == name}
    return any(part in error for part in names)


@given(settings_of(SCHEMA))
def test_what_runs_is_what_is_written(chosen: Settings):
    """Text, settings and plan agree: nothing is run that the text doesn't say, and nothing said that doesn't run."""
    resolved = SCHEMA.resolved(chosen, ModelFacts())
    pairs = write_infotext(SCHEMA, resolved)
    plan, features = plan_of(SCHEMA, resolved), SCHEMA.chosen(resolved)
    recorded = {feature.active_key for feature in features if feature.recorded()}
    assert {key for key in pairs if key in {t.active_key for t in GUIDING}} == recorded
    assert set(pairs) <= our_keys(SCHEMA)
    assert [t.name for t in plan.techniques] == [f.name for f in features if isinstance(f, Technique)]
