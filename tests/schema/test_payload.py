"""A job's request is either understood or refused; nothing else ever comes out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import UserError
from lib_sdfm.schema.infotext import parse_infotext, read_infotext
from lib_sdfm.schema.originals import OLD_ENTRIES, OldEntry
from lib_sdfm.schema.payload import notes_of, require_no_rival, resolve_job
from lib_sdfm.schema.settings import Settings
from tests.schema.strategies import anything

INCANTATIONS = OLD_ENTRIES[0]


def resolves(args: list[Any], old: list[tuple[OldEntry, list[Any]]] = ()) -> bool:
    try:
        assert isinstance(resolve_job(SCHEMA, args, old).settings, Settings)
        return True
    except UserError as error:
        assert str(error)
        return False


names = st.sampled_from([field.param.name for field in SCHEMA.fields]) | st.text(max_size=4)
requests = st.dictionaries(
    st.sampled_from(["recipe", *(technique.name for technique in SCHEMA.techniques)]),
    anything | st.dictionaries(names, anything),
)


@given(anything | requests)
def test_any_first_argument_is_understood_or_refused(argument: Any):
    resolves([argument])


@settings(max_examples=150)
@given(st.lists(anything, max_size=len(SCHEMA.positional) + 1))
def test_any_positional_list_is_understood_or_refused(args: list[Any]):
    resolves(args)


@given(st.data())
def test_one_strange_value_among_defaults_is_understood_or_refused(data: st.DataObject):
    """The host swallows other exceptions and would make a picture without us."""
    args = ["", "sdfm", "", *(field.control_default for field in SCHEMA.positional[3:])]
    for place in [place for place, field in enumerate(SCHEMA.positional) if field and field.role == "switch"]:
        args[place] = True
    place = data.draw(st.integers(0, len(args) - 1))
    args[place] = data.draw(anything)
    resolves(args)


@pytest.mark.parametrize("notes", ["nonsense", "[1]", "3", '{"errors": 3}', 5, ["x"], {"errors": []}, "null", True], ids=str)
def test_strange_notes_are_refused(notes: Any):
    """The place belongs to pasting; a program that counts places wrongly must hear of it."""
    assert not resolves(["", "sdfm", notes, True])


@settings(max_examples=150)
@given(st.sampled_from(OLD_ENTRIES), st.data())
def test_any_old_payload_is_understood_or_refused(entry: OldEntry, data: st.DataObject):
    args = data.draw(st.lists(anything, min_size=1, max_size=entry.size))
    if data.draw(st.booleans()):
        args[0] = True
    resolves([], [(entry, args)])


def test_notes_of_a_pasted_text_reach_the_run_of_the_api_only():
    text = "Steps: 20, Sampler: Euler, Seed: 1, PAG Active: True, PAG Scale: much, SCFG Active: True"
    notes = notes_of(read_infotext(SCHEMA, parse_infotext(text)))
    args = ["", "original", notes, True]
    with pytest.raises(UserError, match="PAG Scale: 'much'"):
        resolve_job(SCHEMA, args)
    assert resolve_job(SCHEMA, args, is_api=False).warnings == []


def test_warnings_of_a_pasted_text_do_not_stop_the_run():
    text = "Steps: 20, Sampler: Euler, Seed: 1, SCFG Active: True"
    notes = notes_of(read_infotext(SCHEMA, parse_infotext(text)))
    job = resolve_job(SCHEMA, ["", "original", notes])
    assert len(job.warnings) == 1 and "SCFG Active" in job.warnings[0]


def test_a_text_without_problems_leaves_no_notes():
    assert notes_of(read_infotext(SCHEMA, {"PAG Active": "True", "SDFM": "1"})) == ""


def test_old_and_new_arguments_together_are_refused():
    old = [False] * 12 + [True, 2.0]
    old[:12] = [False, 11.0, 0, 150, False, 1.0, 0.8, 3.0, 0.0, 0, 150, 4]
    assert resolves([], [(INCANTATIONS, old)])
    with pytest.raises(UserError, match="not both"):
        resolve_job(SCHEMA, [{"pag": {}}], [(INCANTATIONS, old)])


def test_hidden_controls_of_an_old_title_say_nothing():
    for entry in OLD_ENTRIES:
        empty = [(entry, [""] * entry.size), (entry, [None] * entry.size)]
        assert resolve_job(SCHEMA, [{"pag": {}}], empty).settings == resolve_job(SCHEMA, [{"pag": {}}]).settings


@pytest.mark.parametrize("request_", [{"pag": {}}, {"recipe": "original", "pag": {"scale": 1}}], ids=["sdfm", "original"])
def test_what_an_installed_original_does_in_the_same_job_is_not_done_twice(request_: dict):
    (entry,) = (entry for entry in OLD_ENTRIES if entry.title == "Incantations")
    settings = resolve_job(SCHEMA, [request_]).settings
    active = [False, 11.0, 0, 150, *[False, 1.0, 0.8, 3.0, 0.0, 0, 150, 4], True, 1.0, 0, 150, False, "Constant", 0, 100, False]
    with pytest.raises(UserError, match="PAG is on in both SDFM and Incantations"):
        require_no_rival(SCHEMA, settings, [(entry, active)])
    require_no_rival(SCHEMA, settings, [(entry, [*active[:12], False, *active[13:]])])
    require_no_rival(SCHEMA, resolve_job(SCHEMA, [{"freeu": {}}]).settings, [(entry, active)])
