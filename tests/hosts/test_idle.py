"""A job in which nothing is on never fails because of SDFM, whatever the host lacks; with something on it says what."""

from __future__ import annotations

import dataclasses
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_sdfm.catalog import SCHEMA
from sdfm_webui import idle
from sdfm_webui.errors import SdfmError
from sdfm_webui.job import HostObjects
from tests.hosts import flow_hosts
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import SdfmScript, job, new_host, samples

ASKED = [field.name for field in dataclasses.fields(HostObjects) if field.name not in ("new_pass", "kinds", "end_others")]
"""Objects of a host that SDFM reads in every job."""


def gone(*args: Any) -> Any:
    raise AttributeError("'Options' object has no attribute 'use_old_scheduling'")


class Broken(SdfmScript):
    """SDFM in a WebUI that lacks something."""

    lacks = ""

    @property
    def objects(self) -> HostObjects:
        return dataclasses.replace(super().objects, **{self.lacks: gone})


@pytest.fixture(autouse=True)
def _not_said_before(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(idle, "_said", set())


def broken(host: Host, lacks: str) -> Host:
    host.on_cfg_denoiser.clear()
    host.sdfm = Broken(host)
    host.sdfm.lacks = lacks
    return host


@pytest.mark.parametrize("lacks", ASKED)
def test_with_nothing_on_the_picture_is_made_and_a_line_is_logged(host: Host, lacks: str, caplog: pytest.LogCaptureFixture):
    plain = samples(host)
    broken(host, lacks)
    with caplog.at_level(logging.WARNING, "sdfm"):
        assert torch.equal(samples(host), plain)
        assert torch.equal(samples(host, {"pag": False}), plain)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) <= 1 and all("use_old_scheduling" in line and "it does nothing" in line for line in lines)


@pytest.mark.parametrize("lacks", ASKED)
def test_with_something_on_the_error_names_what_is_missing(host: Host, lacks: str):
    broken(host, lacks)
    plain = samples(host)
    try:
        samples(host, {"pag": {}})
    except SdfmError as error:
        assert "use_old_scheduling" in str(error) and "Turn off everything in SDFM" in str(error)
    else:  # it is asked for where it counts alone
        assert lacks == "old_timelines"
    assert torch.equal(samples(host), plain)


def test_a_mark_in_a_prompt_asks_for_something():
    host = broken(new_host(), "old_timelines")
    p = job(host)
    p.prompts, p.negative_prompts = ["[a:b:refiner]"], [""]
    p.refiner_checkpoint_info, p.refiner_switch_at = SimpleNamespace(), 0.5
    p.all_prompts, p.all_negative_prompts = p.prompts, p.negative_prompts
    assert not idle.asks_for_nothing(SCHEMA, p, ())
    p.prompts = ["[a:b:0.5]"]
    assert idle.asks_for_nothing(SCHEMA, p, ())


@pytest.mark.parametrize("make", flow_hosts.FLOW_HOSTS.values(), ids=flow_hosts.FLOW_HOSTS)
@pytest.mark.parametrize("lacks", ["target", "loaded"])
def test_flow_matching_that_cannot_look_at_the_model(make: Any, lacks: str, tmp_path: Any):
    host = make(tmp_path)
    plain = samples(host)
    host.sdfm.kinds = dataclasses.replace(host.sdfm.kinds, **{lacks: gone})
    assert torch.equal(samples(host), plain)
    with pytest.raises(SdfmError, match="use_old_scheduling"):
        samples(host, {"flow": {}})
