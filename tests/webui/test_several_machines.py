"""Jobs that another extension shares with other machines: all settings arrive there, and what isn't done there is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError, UnsupportedError
from lib_sdfm.schema.axes import ALL_OLD
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.request import OWN_VERSION, VERSION, request_for
from lib_sdfm.schema.titles import ALL_ENTRIES
from sdfm_webui.axes import ATTRIBUTE
from sdfm_webui.foreign_pictures import WatchedTexts, watch_pictures
from sdfm_webui.stated_args import state_settings, stated_args
from tests.schema.strategies import values_of
from tests.webui.sharing import PLACES, Machine, job, own_args, shared

PAG = {"pag": {"scale": 4}}
NOTES = json.dumps({"errors": ["PAG Scale: x is not valid"], "warnings": []})


def stated(p: Any) -> list[Any]:
    state_settings(SCHEMA, p, lambda p: [])
    return own_args(p)


class TestSettings:
    @given(values_of(SCHEMA), st.integers(1, PLACES + 5))
    def test_all_of_them_reach_a_machine_with_another_list(self, values: dict[str, Any], places: int):
        panel = ["" if field is None else values[field.id] for field in SCHEMA.positional]
        wanted = resolve_job(SCHEMA, panel).settings
        sent = json.loads(json.dumps(stated_args(SCHEMA, panel, {}, is_api=False)))
        assert len(sent) == PLACES
        assert resolve_job(SCHEMA, sent).settings == wanted
        if wanted.techniques or wanted.by_default:  # else nothing that acts is lost
            assert resolve_job(SCHEMA, sent[:places]).settings == wanted
            assert stated_args(SCHEMA, sent, {}, is_api=False) == sent

    def test_presets_and_axes_are_written_out(self):
        p = job([{"preset": "PAG", "pag": {"end_step": 9}}], **{ATTRIBUTE: {"seg.scale": 2.5, ALL_OLD: False}})
        wanted = resolve_job(SCHEMA, own_args(p), axes=getattr(p, ATTRIBUTE)).settings
        request = stated(p)[0]
        assert request == {VERSION: OWN_VERSION, **request_for(SCHEMA, wanted)}
        assert request["seg"] == {"scale": 2.5} and request["pag"]["end_step"] == 9 and "preset" not in request

    @pytest.mark.parametrize("kind", [tuple, list])
    def test_other_scripts_and_other_jobs_keep_their_arguments(self, kind: type):
        p = job([PAG])
        before = p.script_args = kind(p.script_args)
        kept = [*before]
        stated(p)
        assert [*before] == kept and type(p.script_args) is kind and len(p.script_args) == len(kept)
        assert {arg for arg in p.script_args if isinstance(arg, str)} >= {"theirs"}
        assert p.script_args[:3] == kind(["theirs"] * 3) and p.script_args[-1] == "theirs"

    @pytest.mark.parametrize("args", [[], ["", "original", "", False, True, 9.0], [{"pag": False}]])
    def test_jobs_in_which_nothing_is_on_stay_as_they_are(self, args: list[Any]):
        before = own_args(job(args))
        assert stated(job(args)) == before

    @pytest.mark.parametrize("args", [[{"pag": {"scale": -1}}], [{"nothing": {}}], [{VERSION: "9.9"}], ["no dictionary"]])
    def test_invalid_settings_are_left_for_the_job_to_report(self, args: list[Any]):
        before = own_args(job(args))
        assert stated(job(args)) == before

    def test_payloads_of_the_old_titles_are_left_to_them(self):
        entry, p = ALL_ENTRIES[0], job([], **{ATTRIBUTE: {"pag.scale": 2.0, ALL_OLD: True}})
        before = own_args(p)
        state_settings(SCHEMA, p, lambda p: [(entry, [True, 2.0])])
        assert own_args(p) == before

    def test_notes_of_the_panel_do_not_make_another_machine_refuse_the_job(self):
        for args in ([PAG, "sdfm", NOTES], ["", "sdfm", NOTES]):
            assert stated(job(args, is_api=False))[2] == ""
            assert stated(job(args))[2] == NOTES

    def test_a_job_without_our_script_is_none_of_ours(self):
        p = job([PAG])
        p.scripts.alwayson_scripts.clear()
        before = p.script_args
        state_settings(SCHEMA, p, lambda p: [])
        assert p.script_args is before


class TestVersion:
    def test_another_one_is_refused_and_this_one_is_not(self):
        assert resolve_job(SCHEMA, [{VERSION: OWN_VERSION, **PAG}]) == resolve_job(SCHEMA, [PAG])
        with pytest.raises(UnsupportedError, match=f"for SDFM 9.1, but this is SDFM {OWN_VERSION}"):
            resolve_job(SCHEMA, [{VERSION: "9.1"}])

    @pytest.mark.parametrize("said", [0.2, None, "", [OWN_VERSION]])
    def test_nonsense_is_named(self, said: Any):
        with pytest.raises(SettingError, match="version"):
            resolve_job(SCHEMA, [{VERSION: said}])


ORDERS = [{"before_us": before, "grid_option": grid} for before in (False, True) for grid in (False, True)]
EVERY_KEY = {**PAG, "freeu": {}, "dynamic_thresholding": {"mimic_scale": 3}, "cfgpp": {"scale": 0.5}}


class TestPictures:
    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("args", [[PAG], [EVERY_KEY], [], [{"recipe": "original", **PAG}]])
    def test_nothing_is_said_if_all_were_made_alike(self, order: dict[str, bool], args: list[Any]):
        assert shared(job(args), Machine(), **order).comments == ""
        assert shared(job(args), Machine(), local=0).comments == ""

    @pytest.mark.parametrize("order", ORDERS)
    def test_a_machine_without_sdfm_is_named(self, order: dict[str, bool], caplog: pytest.LogCaptureFixture):
        said = shared(job([{**PAG, "nag": {}}]), Machine(None), **order).comments
        assert said.count("\n") == 1 and "SDFM: a picture of this job (seed 7, Worker Label: second)" in said
        assert "made by another WebUI without SDFM: no PAG, no NAG. Each machine needs SDFM" in said
        assert said.strip() in caplog.text

    def test_also_if_this_machine_makes_none(self):
        said = shared(job([PAG]), Machine(None), local=0).comments
        assert "(seed 5) was made by another WebUI without SDFM: no PAG" in said

    def test_other_settings_are_named(self):
        class Weaker(Machine):
            def settings(self, payload: str) -> Any:
                return resolve_job(SCHEMA, [{"pag": {"scale": 3}, "flow": {}}]).settings

        said = shared(job([{**PAG, "cfg_rescale": {"phi": 0.5}}]), Weaker()).comments
        assert "with other settings: no CFG rescale, PAG Scale 3 instead of 4, Flow Matching On" in said

    def test_missing_pictures_are_counted(self):
        class Refusing(Machine):
            def settings(self, payload: str) -> Any:
                raise UnsupportedError("of another version")

        for local in (2, 0):
            said = shared(job([PAG]), Refusing(), local=local).comments
            assert f"SDFM: {4 - local} of 4 pictures are missing." in said and "status 422" in said
            assert shared(job([]), Refusing(), local=local).comments == ""

    @pytest.mark.parametrize("machine", [Machine(None), Machine()])
    def test_jobs_in_which_nothing_is_on_are_left_alone(self, machine: Machine):
        processed = shared(job([]), machine)
        assert processed.comments == "" and type(processed.infotexts) is list

    def test_a_job_that_nobody_shares_is_left_alone(self):
        p = job([PAG], sdfm_pictures_asked=1, sdfm_pictures_local=1)
        texts = ["a\nSteps: 4, Sampler: Euler, Seed: 5, PAG Active: True, PAG Scale: 4, SDFM: 1"]
        processed = type("Processed", (), {"images": [1], "infotexts": texts, "comments": ""})()
        watch_pictures(SCHEMA, p, own_args(p), [], processed, interrupted=False)
        assert processed.infotexts is texts and processed.comments == ""

    @pytest.mark.parametrize(("images", "interrupted"), [([], False), ([1], True)])
    def test_nothing_is_missing_from_failed_and_interrupted_jobs(self, images: list[Any], interrupted: bool):
        p = job([PAG], sdfm_pictures_asked=4, sdfm_pictures_local=2)
        processed = type("Processed", (), {"images": images, "infotexts": [""] * len(images), "comments": ""})()
        watch_pictures(SCHEMA, p, own_args(p), [], processed, interrupted)
        assert processed.comments == ""

    def test_the_texts_stay_a_list_that_everybody_can_use(self):
        seen: list[tuple[str, Any]] = []
        texts = WatchedTexts(["a", "b"], lambda before, after: seen.append((before, after)))
        texts[1], texts[-2] = "c", None
        texts[0:1] = ["d"]
        texts.insert(0, "grid")
        with pytest.raises(IndexError):
            texts[9] = "e"
        assert texts == ["grid", "d", "c"] and json.dumps(texts) and seen == [("b", "c"), ("a", None), ("", "e")]
