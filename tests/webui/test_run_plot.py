"""The drawing of a run: escaped texts, stretches of steps, the CFG scale of second-order samplers."""

from __future__ import annotations

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.planning.cost import Cost, SizedPass
from lib_sdfm.planning.course import PassFacts, planned_calls, usual_calls
from lib_sdfm.planning.plan import plan_of
from lib_sdfm.schema.request import apply_request
from sdfm_webui.run_course import Course, CoursePass, Handover
from sdfm_webui.run_plot import places_of, plot, scales, windows

EVIL = '<img src=x onerror="alert(1)">'


def course(request: dict | None = None, steps: int = 10, per_step: int = 1, **facts) -> Course:
    plan = plan_of(SCHEMA, SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), request or {})))
    given = PassFacts(usual_calls(steps, per_step), steps, **facts)
    calls = planned_calls(plan, given)
    labels = {technique.name: technique.label for technique in plan.techniques}
    handover = Handover(EVIL, (EVIL, "a"), (f"then {EVIL}", "a")) if given.switch is not None else None
    return Course([CoursePass("run", SizedPass(given, 4096), calls, EVIL)], labels, Cost(1, 1), handover)


@pytest.mark.parametrize("switch", [None, 0, 4, 9])
def test_nothing_in_it_is_markup(switch: int | None):
    html = plot(course({"pag": {}}, switch=switch, sampler=EVIL))
    assert "<img" not in html and html.count("&lt;img") >= 2


def test_calls_of_a_step_share_it():
    calls = course(steps=2, per_step=2).passes[0].calls
    assert places_of(calls) == [(0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2)]


def test_a_window_is_a_bar_over_its_steps():
    calls = course({"pag": {"start_step": 2, "end_step": 4}}).passes[0].calls
    assert windows(calls, "pag") == [(2, 5)] and windows(calls, "seg") == []


def test_the_scale_is_what_thresholding_makes_of_it():
    calls = course({"dynamic_thresholding": {"cfg_mode": "Linear Up", "cfg_minimum": 1.0}}).passes[0].calls
    values = [value for _, _, value in scales(calls)]
    assert values == sorted(values) and values[-1] == pytest.approx(7.0) and len(set(values)) == 10


@pytest.mark.parametrize("steps", [1, 2, 7, 150, 1000])
def test_any_number_of_steps(steps: int):
    html = plot(course({"freeu": {}}, steps))
    assert f">{steps} step" in html.replace("Run: ", ">") and html.count("<div") == html.count("</div>")
