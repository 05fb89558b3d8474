"""Pasting into the controls: total functions with raw values of the controls' types."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema import reading
from lib_sdfm.schema.fields import Field
from lib_sdfm.schema.infotext import our_keys, parse_infotext, write_infotext
from lib_sdfm.schema.payload import resolve_job
from sdfm_webui import paste
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


class TestReadings:
    """How often a text is read."""

    PAG = {"PAG Active": "True", "PAG Scale": "4", "SDFM": "1"}

    @pytest.fixture
    def readings(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """Collects the parameters of each reading."""
        read: list[dict[str, Any]] = []

        def read_parameters(schema: Any, params: dict[str, Any], *more: Any) -> Any:
            read.append(dict(params))
            return reading.read_parameters(schema, params, *more)

        monkeypatch.setattr(paste, "read_parameters", read_parameters)
        return read

    def paste_all(self, targets: PasteTargets, params: dict[str, Any]) -> dict[str, Any]:
        """Paste into every control, the hidden ones and the notice included."""
        assert isinstance(targets.notes(params) + targets.notice(params) + targets.request(params), str)
        for target in {**targets.by_api_field, **targets.by_hires_api_field}.values():
            target(params)
        return {id: target(params) for id, target in targets.by_id.items()}

    def test_one_paste_reads_its_text_once(self, readings: list):
        assert self.paste_all(PasteTargets(SCHEMA), self.PAG)["pag.scale"] == 4.0
        assert readings == [self.PAG]

    def test_an_equal_dictionary_is_the_same_paste(self, readings: list):
        targets = PasteTargets(SCHEMA)
        assert self.paste_all(targets, dict(self.PAG)) == self.paste_all(targets, dict(self.PAG))
        assert len(readings) == 1

    def test_another_text_is_read_anew(self, readings: list):
        targets, other = PasteTargets(SCHEMA), {**self.PAG, "PAG Scale": "5"}
        scales = [self.paste_all(targets, params)["pag.scale"] for params in (self.PAG, other, self.PAG)]
        assert scales == [4.0, 5.0, 4.0] and readings == [self.PAG, other, self.PAG]

    def test_a_dictionary_that_was_changed_in_place_is_read_anew(self, readings: list):
        targets, params = PasteTargets(SCHEMA), dict(self.PAG)
        assert self.paste_all(targets, params)["pag.scale"] == 4.0
        params["PAG Scale"] = "5"
        assert self.paste_all(targets, params)["pag.scale"] == 5.0
        params["PAG Scale"] = "<"
        assert "PAG Scale" in targets.notice(params)
        assert len(readings) == 3

    def test_values_that_are_equal_and_of_another_type_are_read_anew(self, readings: list):
        targets = PasteTargets(SCHEMA)
        for value in (True, 1, 1.0):
            targets.by_id["pag.enabled"]({"PAG Active": value})
        assert len(readings) == 3

    def test_keys_that_the_host_claims_later_count(self, readings: list):
        claimed: set[str] = set()
        targets, params = PasteTargets(SCHEMA, lambda: claimed), dict(self.PAG)
        targets.notice(params)
        claimed.add("freeu_b1")
        targets.notice(params)
        assert len(readings) == 2
