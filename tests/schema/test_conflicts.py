"""Techniques that exclude each other are refused by name in the panel, the API and pasted generation parameters."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lib_sdfm.errors import ConflictError, SettingError
from lib_sdfm.planning.explain import explain_payload
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.sampling.stages import SDFM
from lib_sdfm.schema.feature import Feature
from lib_sdfm.schema.infotext import read_infotext
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.schema.settings import Schema
from lib_sdfm.techniques.dynamic_thresholding import DynamicThresholding
from lib_sdfm.techniques.pag import Pag, PagSettings
from sdfm_webui.header import header_of
from tests.schema.alone import PagAlone

THRESHOLDING_START = 3 + len(Pag.positions)
MEAN_START = THRESHOLDING_START + len(DynamicThresholding.positions)


class Thresholding(DynamicThresholding):
    """The same after PAG in the API's list."""

    positions = tuple(range(THRESHOLDING_START, MEAN_START))


@dataclass(frozen=True)
class MeanSettings:
    """No settings."""


class Mean(Technique):
    """Takes CFG's place; can't be on together with strong PAG."""

    name, label, title, summary, Settings = "mean", "Mean", "Mean", "A mean.", MeanSettings
    active_key, rank, positions, recipes = "Mean Active", 1, (MEAN_START,), (SDFM,)

    def combine(self, prediction: Prediction, call: ModelCall) -> None:
        return None

    def conflict(self, other: Feature) -> str | None:
        if isinstance(other, Pag) and other.settings.scale > 5:
            return "PAG is too strong"
        return super().conflict(other)


SCHEMA = Schema((PagAlone, Thresholding, Mean))
MESSAGE = "Dynamic thresholding and Mean can't be on together: each of them computes CFG in its own way. Turn off one of them"
BOTH = {"dynamic_thresholding": True, "mean": True}


def test_the_api_refuses_by_name():
    with pytest.raises(ConflictError, match=f"^{MESSAGE}$"):
        resolve_job(SCHEMA, [BOTH])


def test_explain_names_them():
    assert explain_payload(SCHEMA, {"alwayson_scripts": {"SDFM": {"args": [BOTH]}}})["errors"] == [MESSAGE]


def test_the_panel_names_them_in_its_title():
    values = {**SCHEMA.defaults(), **{f"{name}.enabled": True for name in BOTH}}
    args = [values.get(name, "") for name in SCHEMA.position_names]
    assert header_of(SCHEMA, args).notes == [MESSAGE]


def test_a_pasted_text_names_them():
    pairs = {"Dynamic thresholding enabled": "True", "Mean Active": "True", "SDFM": "1"}
    assert read_infotext(SCHEMA, pairs).errors == [MESSAGE]


def test_settings_may_decide():
    assert resolve_job(SCHEMA, [{"mean": True, "pag": {"scale": 5}}]).settings.techniques["pag"] == PagSettings(scale=5.0)
    with pytest.raises(ConflictError, match="Mean and PAG can't be on together: PAG is too strong"):
        resolve_job(SCHEMA, [{"mean": True, "pag": {"scale": 6}}])


def test_a_technique_that_a_recipe_lacks_is_refused():
    with pytest.raises(SettingError, match="sdfm .“By the papers”. with Mean, which the old extensions did not have"):
        resolve_job(SCHEMA, [{"recipe": "original", "mean": True}])
