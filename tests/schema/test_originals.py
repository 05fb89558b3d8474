"""Old payloads of incantations, in each of its five layouts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import UserError
from lib_sdfm.schema.infotext import parse_infotext, read_infotext
from lib_sdfm.schema.originals import OLD_ENTRIES, incantations_layout
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Schema, Settings
from lib_sdfm.techniques.pag import PagSettings
from tests.schema.alone import PAG_ONLY
from tests.schema.published import A

ENTRY = next(entry for entry in OLD_ENTRIES if entry.title == "Incantations")

# the panels' defaults of the parts, as old clients sent them
SEG = [False, 11.0, 0, 150]
SCFG = [False, 1.0, 0.8, 3.0, 0.0, 0, 150, 4]
PAG = [False, 0.0, 0, 150]
SCHEDULE = [False, "Constant", 0, 100]
T2I_ZERO = [False, False, 2, 0.1, 0.5, 0.0, "", 0.0, 25, 1]
SEEK = [False, False, "BREAK", "-", 0.2, 10, 1]

LAYOUTS = {
    "V1": [*PAG[:2], *T2I_ZERO[:9], *SEEK],
    "V2": [*PAG, *SCHEDULE, *T2I_ZERO, *SEEK],
    "V3": [*SCFG, *PAG, *SCHEDULE, *T2I_ZERO, *SEEK],
    "V4": [*SCFG, *PAG, *SCHEDULE, False, *T2I_ZERO, *SEEK],
    "V5": [*SEG, *SCFG, *PAG, *SCHEDULE, False, *T2I_ZERO, *SEEK],
}
PAG_PLACE = {"V1": 0, "V2": 0, "V3": 8, "V4": 8, "V5": 12}
SIZES = {"V1": 18, "V2": 25, "V3": 33, "V4": 34, "V5": 38}


def payload(layout: str, **changed: Any) -> list[Any]:
    """A list of a layout with other values at places counted from PAG's switch: ``pag0=True``, and ``at4=True`` absolutely."""
    args = list(LAYOUTS[layout])
    for place, value in changed.items():
        args[int(place[3:]) + PAG_PLACE[layout] if place.startswith("pag") else int(place[2:])] = value
    return args


def padded(args: list[Any]) -> list[Any]:
    """As the API hands it over: the rest from our hidden controls."""
    return args + [""] * (ENTRY.size - len(args))


def resolved(args: list[Any], schema: Schema = PAG_ONLY) -> Settings:
    return resolve_job(schema, [], [(ENTRY, args)]).settings


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_have_their_known_sizes(layout: str):
    assert len(LAYOUTS[layout]) == SIZES[layout]
    assert ENTRY.size == 38


@pytest.mark.parametrize("pad", [padded, list], ids=["padded", "as it was"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_told_apart(layout: str, pad: Any):
    assert incantations_layout(pad(LAYOUTS[layout])) == layout


@pytest.mark.parametrize("layout", LAYOUTS)
@given(numbers=st.lists(st.integers(0, 150) | st.floats(0, 20), min_size=38, max_size=38), switches=st.lists(st.booleans()))
def test_values_do_not_change_the_layout(layout: str, numbers: list[float], switches: list[bool]):
    args, switches = list(LAYOUTS[layout]), iter(switches)
    for place, value in enumerate(args):
        if isinstance(value, bool):
            args[place] = next(switches, value)
        elif isinstance(value, int | float):
            args[place] = numbers[place]
    assert incantations_layout(padded(args)) == layout


@pytest.mark.parametrize("pad", [padded, list], ids=["padded", "as it was"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pag_is_found_in_each_layout(layout: str, pad: Any):
    settings = resolved(pad(payload(layout, pag0=True, pag1=2.5)))
    assert settings == Settings("original", {"pag": PagSettings(scale=2.5)})


@pytest.mark.parametrize("layout", ["V2", "V3", "V4", "V5"])
def test_its_window_is_found(layout: str):
    pag = resolved(padded(payload(layout, pag0=True, pag1=1, pag2=3, pag3=9))).techniques["pag"]
    assert (pag.start_step, pag.end_step) == (3, 9)


@pytest.mark.parametrize("layout", ["V4", "V5"])
def test_fusion_is_found_behind_the_schedule(layout: str):
    assert resolved(padded(payload(layout, pag0=True, pag8=True))).techniques["pag"].sanf is True
    assert resolved(padded(payload(layout, pag0=True))).techniques["pag"].sanf is False


@pytest.mark.parametrize("layout", ["V3", "V4", "V5"])  # a beginning of V1 or V2 can't be told from one of V5
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_list_that_ends_early_has_the_panels_defaults(layout: str, length: int):
    args = payload(layout, pag0=True, pag1=4.0)[: PAG_PLACE[layout] + length]
    assert resolved(padded(args)).techniques["pag"] == PagSettings(scale=4.0 if length > 1 else 0.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_payload_that_switches_nothing_on_is_nothing(layout: str):
    assert resolved(padded(LAYOUTS[layout])) == Settings("sdfm", {})


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (payload("V3", at0=True), "S-CFG"),
        (payload("V4", at0=True), "S-CFG"),
        (payload("V5", at4=True), "S-CFG"),
        (payload("V1", at2=True), "T2I-Zero"),
        (payload("V2", at8=True), "T2I-Zero"),
        (payload("V5", at21=True), "T2I-Zero"),
        (payload("V1", at11=True), "Seek for Incantations"),
        (payload("V5", at31=True), "Seek for Incantations"),
    ],
)
def test_what_was_not_built_is_refused_by_name(args: list[Any], name: str):
    with pytest.raises(UserError, match=f"Incantations: .*{name}"):
        resolved(padded(args), SCHEMA)


@pytest.mark.parametrize(("place", "value"), [("pag1", "much"), ("pag1", -1), ("pag2", 0.5), ("pag3", True), ("pag8", "yes")])
def test_bad_values_of_an_old_payload_are_refused(place: str, value: Any):
    with pytest.raises(UserError, match="Incantations: PAG"):
        resolved(padded(payload("V5", pag0=True, **{place: value})))


def test_an_old_payload_means_what_the_text_means_that_the_original_wrote_for_it():
    args = payload("V5", at0=True, at1=11, at3=2048, pag0=True, pag1=1, pag3=2048, pag8=True)
    assert resolved(padded(args), SCHEMA) == SCHEMA.settings(read_infotext(SCHEMA, parse_infotext(A)).values)
