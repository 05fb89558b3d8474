"""What pasting does to the controls: total functions with raw values of the controls' types."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.infotext import our_keys, parse_infotext, write_infotext
from lib_sdfm.schema.payload import resolve_job
from sdfm_webui.paste import PasteTargets
from tests.schema.published import A, B
from tests.schema.strategies import settings_of
from tests.schema.texts import printed

TARGETS = PasteTargets(SCHEMA)
TYPES = {"number": float, "integer": int, "boolean": bool, "choice": str, "text": str}
keys = st.sampled_from(sorted(our_keys(SCHEMA))) | st.text(max_size=5)


def pasted(params: dict[str, Any]) -> dict[str, Any]:
    return {id: target(params) for id, target in TARGETS.by_id.items()}


@given(st.dictionaries(keys, st.text() | st.sampled_from(["True", "1", "0.5", "150", "middle"])))
def test_any_text_pastes_and_gives_every_control_its_type(params: dict[str, str]):
    values = pasted(params)
    assert set(values) == set(SCHEMA.by_id)
    assert {id: type(value) for id, value in values.items()} == {id: TYPES[SCHEMA.by_id[id].param.kind] for id in values}
    assert isinstance(TARGETS.notice(params), str) and isinstance(TARGETS.notes(params), str)


@pytest.mark.parametrize("field", SCHEMA.fields, ids=lambda field: field.id)
def test_a_text_that_says_nothing_clears(field: Field):
    assert TARGETS.by_id[field.id]({"Steps": "20"}) == field.control_default
    assert TARGETS.notice({"Steps": "20"}) == TARGETS.notes({"Steps": "20"}) == TARGETS.request({"Steps": "20"}) == ""


@given(settings_of(SCHEMA))
def test_pasted_controls_run_what_the_text_says(settings: Any):
    """Also with hires values, which the controls show as those of the first pass where they follow them."""
    written = write_infotext(SCHEMA, settings)
    values = pasted(parse_infotext(printed(written)))
    args = ["", values["recipe"], "", *(values[field.id] for field in SCHEMA.positional[3:])]
    assert write_infotext(SCHEMA, resolve_job(SCHEMA, args).settings) == written


def test_following_values_show_what_they_follow():
    values = pasted({"PAG Active": "True", "PAG Scale": "4", "PAG Hires End Step": "7", "SDFM": "1"})
    assert (values["pag.hires_scale"], values["pag.hires_end_step"], values["pag.hires"]) == (4.0, 7, True)
    assert pasted({"PAG Active": "True", "PAG Scale": "4", "SDFM": "1"})["pag.hires"] is False


@pytest.mark.parametrize(("text", "sanf"), [(A, True), (B, False)], ids="ab")
def test_published_texts_paste(text: str, sanf: bool):
    values = pasted(parse_infotext(text))
    assert (values["recipe"], values["pag.enabled"], values["pag.scale"], values["pag.sanf"]) == ("original", True, 1.0, sanf)


def test_problems_are_shown_escaped():
    notice = TARGETS.notice({"PAG Active": "True", "PAG Scale": "<script>", "SDFM": "1"})
    assert "PAG Scale" in notice and "<script>" not in notice


def test_targets_are_one_object_per_control():
    """ "Send to" pairs the two tabs' controls by the identity of their functions."""
    assert len(set(map(id, TARGETS.by_id.values()))) == len(TARGETS.by_id)
    assert TARGETS.by_id["pag.scale"] is TARGETS.by_id["pag.scale"]
