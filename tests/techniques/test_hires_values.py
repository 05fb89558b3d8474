"""Separate values of the hires pass: what is not named is the first pass'."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError
from lib_sdfm.planning.plan import plan_of
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.infotext import read_infotext, write_infotext
from lib_sdfm.schema.request import apply_request
from lib_sdfm.schema.settings import Settings
from lib_sdfm.techniques.freeu import FreeU
from tests.hosts.jobs import samples
from tests.support import noise_of
from tests.techniques.reference import fresh_host

PREDICTION = Prediction(noise_of(1, 1, 4, 8, 8), noise_of(2, 1, 4, 8, 8), torch.ones(1), torch.zeros(1, dtype=torch.long), 9.0)


def technique(name: str, **settings: Any) -> Technique:
    """A technique with settings as the API's dictionary names them."""
    checked = SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), {name: settings}))
    return plan_of(SCHEMA, SCHEMA.resolved(checked, ModelFacts(sdxl=True))).techniques[0]


def step(hires: bool, index: int = 2, sigma: float = 1.0) -> ModelCall:
    return ModelCall(index=index, total=8, sigma=sigma, timestep=500.0, hires=hires)


class TestCfgSchedule:
    CHANGES = ({"schedule": "Linear"}, {"low": 2.0}, {"high": 0.5}, {"schedule": "Cosine", "low": 0.5, "high": 3.0})

    @pytest.mark.parametrize("change", CHANGES, ids=str)
    def test_the_hires_pass_is_as_if_its_values_were_the_only_ones(self, change: dict):
        own = technique("cfg_schedule", **{f"hires_{name}": value for name, value in change.items()})
        alone, neither = technique("cfg_schedule", **change), technique("cfg_schedule")
        for sigma in (0.3, 1.0, 5.0):
            assert own.guidance_scale(7.0, step(True, sigma=sigma)) == alone.guidance_scale(7.0, step(False, sigma=sigma))
            assert own.guidance_scale(7.0, step(False, sigma=sigma)) == neither.guidance_scale(7.0, step(False, sigma=sigma))
        assert own.inert(hires=False) and own.inert(hires=True) is None


class TestDynamicThresholding:
    CHANGES = (
        {"mimic_scale": 2.0}, {"phi": 0.25}, {"percentile": 95.0}, {"mimic_mode": "Linear Down"}, {"cfg_mode": "Power Up"},
    )  # fmt: skip

    def combined(self, hires: bool, **settings: Any) -> Tensor:
        return technique("dynamic_thresholding", **settings).combine(PREDICTION, step(hires))

    @pytest.mark.parametrize("change", CHANGES, ids=str)
    def test_the_hires_pass_is_as_if_its_values_were_the_only_ones(self, change: dict):
        base = {"phi": 0.8, "mimic_minimum": 3.0}
        own = {**base, **{f"hires_{name}": value for name, value in change.items()}}
        assert torch.equal(self.combined(True, **own), self.combined(False, **{**base, **change}))
        assert torch.equal(self.combined(False, **own), self.combined(False, **base))
        assert not torch.equal(self.combined(True, **own), self.combined(False, **own))

    def test_what_a_mode_of_the_hires_pass_needs_is_written(self):
        """Its minimum and value are the first pass', which alone would not need them."""
        settings = {"mimic_minimum": 3.0, "value": 2.0, "hires_mimic_mode": "Power Up"}
        chosen = technique("dynamic_thresholding", **settings)
        pairs = write_infotext(SCHEMA, Settings("sdfm", {"dynamic_thresholding": chosen.settings}))
        assert (pairs["Mimic mode"], pairs["Mimic scale minimum"], pairs["Scheduler value"]) == ("Constant", 3, 2)
        assert pairs["DynThres Hires Mimic Mode"] == "Power Up"

    def test_it_may_be_off_there(self):
        chosen = technique("dynamic_thresholding", hires_phi=0.0)
        assert chosen.inert(hires=False) is None and "plain CFG" in chosen.inert(hires=True)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [("cfg_schedule", "hires_low", 1.0), ("dynamic_thresholding", "hires_phi", 0.5), ("freeu", "hires_start", 0.5)],
)
def test_recipe_original_has_none(name: str, setting: str, value: float):
    with pytest.raises(SettingError, match="as the old extensions"):
        SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), {"recipe": "original", name: {setting: value}}))


class TestFreeU:
    @staticmethod
    def freeu(**settings: Any) -> FreeU:
        return technique("freeu", **settings)

    def test_stages_that_are_named_replace_those_of_the_first_pass(self):
        chosen = self.freeu(hires_stage1_backbone=1.0, hires_stage2_skip=0.8)
        values = [[chosen.value(f"stage{s}_{n}", hires) for s in (1, 2) for n in ("backbone", "skip")] for hires in (0, 1)]
        assert values == [[1.1, 0.6, 1.2, 0.4], [1.0, 0.6, 1.2, 0.8]]
        assert chosen.settings.hires_preset == "Custom"

    def test_a_preset_of_its_own(self):
        chosen = self.freeu(hires_preset="SD2.1", stage3_backbone=1.5)
        assert chosen.value("stage1_backbone", True) == 1.1 and chosen.value("stage1_skip", True) == 0.9
        assert (chosen.value("stage3_backbone", False), chosen.value("stage3_backbone", True)) == (1.5, 1.0)

    def test_a_schedule_of_its_own(self):
        chosen = self.freeu(hires_stop=4, hires_stop_in_steps=True)

        def on(index: int, hires: bool) -> bool:
            return chosen.active(step(hires, index))

        assert [on(i, False) for i in range(8)] == [True] * 8
        assert [on(i, True) for i in range(8)] == [True] * 4 + [False] * 4

    def test_it_may_be_off_there(self):
        chosen = self.freeu(**{f"hires_stage{s}_{n}": 1.0 for s in (1, 2) for n in ("backbone", "skip")})
        assert chosen.inert(hires=False) is None and "all its stages" in chosen.inert(hires=True)

    def test_texts_hold_what_differs(self):
        chosen = self.freeu(hires_stage2_backbone=1.0, hires_start=0.5)
        pairs = write_infotext(SCHEMA, Settings("sdfm", {"freeu": chosen.settings}))
        assert pairs["FreeU Hires Stages"] == '[{}, {"backbone_factor": 1}]'
        assert pairs["FreeU Hires Schedule"] == "0.5, 1.0, 0.0"
        assert list(pairs)[-3:] == ["FreeU Hires Stages", "FreeU Hires Schedule", "SDFM"]
        same = self.freeu(hires_stop=1.0, hires_preset="SDXL")
        assert not [key for key in write_infotext(SCHEMA, Settings("sdfm", {"freeu": same.settings})) if "Hires" in key]

    @pytest.mark.parametrize(
        "settings",
        [{"hires_stop": 1.5}, {"hires_stop": 2.5, "hires_stop_in_steps": True}, {"hires_stage1_backbone": 9}],
        ids=str,
    )
    def test_bad_values_are_named(self, settings: dict):
        with pytest.raises(SettingError, match="hires pass"):
            self.freeu(**settings)

    @pytest.mark.parametrize("text", ['[{"skip_cutoff": 0.5}]', "[1]", "x", "[{}, {}, {}, {}]"])
    def test_bad_texts_are_named(self, text: str):
        pairs = {"FreeU Stages": "[]", "FreeU Hires Stages": text, "SDFM": "1"}
        assert read_infotext(SCHEMA, pairs).errors[0].startswith("FreeU Hires Stages: ")


JOBS = [
    ("cfg_schedule", {"low": 0.1}, {"hires_low": 0.1}, {"hires_low": 3.0}),
    ("dynamic_thresholding", {"mimic_scale": 3.0}, {"hires_mimic_scale": 3.0}, {"hires_mimic_scale": 5.0}),
    ("freeu", {"stage2_backbone": 1.4}, {"hires_stop": 1.0}, {"hires_stage2_backbone": 1.1}),
]


@pytest.mark.parametrize(("name", "base", "same", "other"), JOBS, ids=[name for name, *_ in JOBS])
def test_in_a_job_with_a_hires_pass(name: str, base: dict, same: dict, other: dict):
    """Equal values are bit-equal to none of its own; others change the second pass, and a job without one not at all."""
    host = fresh_host()
    picture = samples(host, {name: base}, enable_hr=True)
    assert torch.equal(samples(host, {name: {**base, **same}}, enable_hr=True), picture)
    assert (samples(host, {name: {**base, **other}}, enable_hr=True) - picture).std() > 1e-4
    assert torch.equal(samples(host, {name: {**base, **other}}), samples(host, {name: base}))
