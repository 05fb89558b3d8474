"""MaHiRo, against ComfyUI's for single images."""

from __future__ import annotations

import pytest
import torch

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import ConflictError, UnsupportedError
from lib_sdfm.ops.guidance import positive_biased
from tests.support import noise_of
from tests.techniques.recorded_guidance import Case, assert_recorded, call, prediction, recorded, technique

COND, UNCOND = noise_of(1, 2, 4, 9, 6).double(), noise_of(2, 2, 4, 9, 6).double()


@pytest.mark.parametrize("case", recorded("mahiro"), ids=lambda case: case.id)
def test_it_is_comfyuis(case: Case):
    given = prediction(case.inputs["cond"], case.inputs["uncond"], case.params["scale"])
    got = technique("mahiro").combine(given, call())
    assert_recorded(case.inputs["cond"] if got is None else got, case.outputs["result"])


def test_full_agreement_is_cfg_and_full_disagreement_the_scaled_prediction():
    torch.testing.assert_close(positive_biased(COND * 7, COND, COND, 7.0), COND * 7)
    guided = COND * 3
    torch.testing.assert_close(positive_biased(guided, COND, -COND, 7.0), COND * 7)


def test_zeros_stay_finite():
    for zeroed in (COND, UNCOND):
        assert positive_biased(zeroed * 0, COND * 0, UNCOND, 7.0).isfinite().all()
        assert positive_biased(zeroed, COND, UNCOND * 0, 7.0).isfinite().all()


def test_cfgpp_is_refused_by_name():
    values = {**SCHEMA.defaults(), "mahiro.enabled": True, "cfgpp.enabled": True}
    with pytest.raises(ConflictError, match=r"MaHiRo and CFG\+\+ can't be on together"):
        SCHEMA.settings(values)
    with pytest.raises(UnsupportedError, match=r"^MaHiRo: this sampler uses CFG\+\+"):
        technique("mahiro").active(call(cfg_unit=1 / 12.5))
