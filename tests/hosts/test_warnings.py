"""Warnings of a job reach the comments under its pictures, and the log for jobs of the API."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.schema.originals import OLD_ENTRIES
from lib_sdfm.schema.payload import notes_of, resolve_job
from lib_sdfm.schema.reading import read_parameters
from sdfm_webui.job import begin_batch
from sdfm_webui.samplers import mend_samplers
from sdfm_webui.warnings import tell, thresholding_warnings
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import job, samples

KNOWN = {"Euler", "Euler a", "DPM++ 2M", "Euler CFG++", "Euler Ancestral CFG++"}


def said_by(host: Host, p: Any, args: list[Any]) -> list[str]:
    p.script_args = args
    begin_batch(SCHEMA, p, args, host.sdfm.objects)
    return p.comments


def test_a_warning_of_pasted_parameters_is_a_comment_and_one_line_in_the_log(a1111: Host, caplog: pytest.LogCaptureFixture):
    notes = notes_of(read_parameters(SCHEMA, {"SCFG Active": "True", "tcfg": "enabled"}))
    with caplog.at_level(logging.WARNING, "sdfm"):
        comments = said_by(a1111, job(a1111), ["", "original", notes])
    assert len(comments) == 2 and "SCFG Active" in comments[0] and "tcfg: enabled" in comments[1]
    (line,) = caplog.messages
    assert line.startswith("SDFM: SCFG Active") and "tcfg: enabled" in line


def test_the_panels_job_logs_nothing_and_later_batches_do_not_repeat(caplog: pytest.LogCaptureFixture):
    comments: list[str] = []
    with caplog.at_level(logging.WARNING, "sdfm"):
        tell(SimpleNamespace(comment=comments.append, is_api=False), ["a", "a"])
        tell(SimpleNamespace(comment=comments.append, is_api=True, iteration=1), ["b"])
        tell(SimpleNamespace(comment=comments.append, is_api=True), [])
    assert comments == ["SDFM: a", "SDFM: b"] and caplog.messages == []


@pytest.mark.parametrize(
    ("prompt", "word"),
    [("[a:b:refiner]", "no refiner"), ("[a:b:REFINER]", "no refiner"), ("[a:b:refinner]", "“:refinner]”")],
)
def test_marks_that_stay_text_get_a_comment(host: Host, prompt: str, word: str):
    p = job(host)
    p.prompts = [prompt]
    (comment,) = said_by(host, p, [])
    assert word in comment


def test_a_plain_cfg_scale_with_a_cfgpp_sampler_gets_a_comment(a1111: Host):
    for sampler, scale, warned in [("Euler CFG++", 7, True), ("Euler CFG++", 1.2, False), ("Euler", 7, False)]:
        p = job(a1111)
        p.sampler_name, p.cfg_scale = sampler, scale
        assert bool(said_by(a1111, p, [])) is warned, sampler


@pytest.mark.parametrize(
    ("said", "mended"),
    [
        ({"sampler_name": "euler_ancestral_cfg_pp_karras", "scheduler": "Automatic"}, ("Euler Ancestral CFG++", "Karras")),
        ({"sampler_name": "Euler a_dynthres1", "scheduler": "Beta"}, ("Euler a", "Beta")),
        ({"sampler_name": "Euler", "scheduler": "Beta"}, ("Euler", "Beta")),
        ({"sampler_name": "er_sde", "scheduler": "Beta"}, ("er_sde", "Beta")),
    ],
)
def test_a_jobs_samplers_are_mended(said: dict[str, str], mended: tuple[str, str]):
    comments: list[str] = []
    p = SimpleNamespace(hr_sampler_name=None, comment=comments.append, **said)
    mend_samplers(p, KNOWN)
    assert (p.sampler_name, p.scheduler) == mended and p.hr_sampler_name is None
    assert bool(comments) is (said["sampler_name"] == "er_sde")


def test_so_are_those_of_the_hires_pass():
    p = SimpleNamespace(sampler_name="Euler", scheduler="Beta", hr_sampler_name="dpmpp_2m_karras", hr_scheduler=None)
    mend_samplers(p, KNOWN)
    assert (p.hr_sampler_name, p.hr_scheduler, p.scheduler) == ("DPM++ 2M", "Karras", "Beta")


BESIDE_CFGPP = {"cfgpp": {"scale": 0.6}}


@pytest.mark.parametrize(("mimic", "acts"), [(0.05, True), (0.6, False)])
def test_cfgpps_scale_is_the_cfg_scale_of_thresholding(a1111: Host, mimic: float, acts: bool):
    both = {**BESIDE_CFGPP, "dynamic_thresholding": {"mimic_scale": mimic}}
    wanted = samples(a1111, BESIDE_CFGPP)
    change = float((samples(a1111, both) - wanted).norm() / wanted.norm())
    assert change > 2e-3 if acts else change < 1e-4


@pytest.mark.parametrize(("mimic", "limits"), [(0.05, True), (0.6, False), (7, False)])
def test_thresholding_above_it_says_so(a1111: Host, mimic: float, limits: bool):
    """Ours and the original's alike."""
    comments = said_by(a1111, job(a1111), [{**BESIDE_CFGPP, "dynamic_thresholding": {"mimic_scale": mimic}}])
    said = f"mimic scale {mimic:g} is not below CFG++'s scale 0.6"
    assert [said in comment for comment in comments] == [True] * (not limits)
    entry = next(entry for entry in OLD_ENTRIES if entry.title.startswith("Dynamic"))
    settings = resolve_job(SCHEMA, [BESIDE_CFGPP], []).settings
    (told,) = thresholding_warnings(SCHEMA, settings, [(entry, [True, mimic])]) or [None]
    assert (told is None) == limits and (limits or told.startswith(entry.title))
