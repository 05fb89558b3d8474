"""How techniques compose."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.plan import Plan, compose, guidance_scale, perturbations
from lib_sdfm.sampling.prediction import Prediction

STEP = ModelCall(index=0, total=1, sigma=1.0, timestep=500.0)
ONE = torch.ones(1, 4, 2, 2)
PREDICTION = Prediction(ONE, ONE, torch.ones(1), torch.zeros(1, dtype=torch.long), cfg_scale=7.0)


class Double(Technique):
    name = label = "double"

    def __init__(self) -> None:
        super().__init__(None, "sdfm")

    def active(self, call: ModelCall) -> bool:
        return True

    def guidance_scale(self, scale: float, call: ModelCall) -> float:
        return scale * 2

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        return denoised * 2


class AddOne(Double):
    name = label = "add_one"

    def guidance_scale(self, scale: float, call: ModelCall) -> float:
        return scale + 1

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        return denoised + 1


class Hundred(Double):
    """Replaces CFG."""

    name = label = "hundred"

    def combine(self, prediction: Prediction, call: ModelCall) -> Tensor:
        return ONE * 100


class Idle(AddOne):
    name = label = "idle"

    def inert(self, hires: bool) -> str | None:
        return "tired"


@pytest.mark.parametrize(("techniques", "result"), [((Double(), AddOne()), 7), ((AddOne(), Double()), 8), ((), 3)])
def test_corrections_follow_each_other_in_order(techniques: tuple, result: float):
    assert torch.equal(compose(techniques, PREDICTION, STEP, lambda: ONE * 3), ONE * result)


@pytest.mark.parametrize(("techniques", "scale"), [((Double(), AddOne()), 15), ((AddOne(), Double()), 16), ((), 7)])
def test_each_technique_may_change_the_scale(techniques: tuple, scale: float):
    assert guidance_scale(techniques, 7.0, STEP) == scale


def test_the_first_that_combines_replaces_plain_cfg():
    def plain_cfg() -> Tensor:
        raise AssertionError("not needed")

    assert torch.equal(compose((AddOne(), Hundred()), PREDICTION, STEP, plain_cfg), ONE * 202)


class Last(Double):
    """Each stage that ends a prediction writes down that it was there."""

    name = label = "last"

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        return self._was_here("correct", denoised)

    def finish(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        return self._was_here("finish", denoised)

    def scale_noise(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        return self._was_here("scale_noise", denoised)

    def renoise(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
        return self._was_here("renoise", denoised)

    def _was_here(self, stage: str, denoised: Tensor) -> Tensor:
        self.seen.append(stage)
        return denoised


def test_each_stage_comes_after_the_one_before_of_all_techniques():
    seen: list[str] = []
    compose((Last(seen), Last(seen)), PREDICTION, STEP, lambda: ONE)
    assert seen == ["correct"] * 2 + ["finish"] * 2 + ["scale_noise"] * 2 + ["renoise"] * 2


def test_who_does_nothing_takes_no_part_and_is_named():
    plan = Plan("sdfm", (Idle(), Double()))
    assert [technique.name for technique in plan.active(STEP)] == ["double"]
    assert [plan.why_inert(technique, hires=False) for technique in plan.techniques] == ["tired", None]


def test_who_perturbs_nothing_needs_no_prediction():
    assert perturbations((Double(), AddOne()), STEP) == {}
