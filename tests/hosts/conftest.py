"""The WebUIs' stand-ins, with SDFM in them."""

from __future__ import annotations

import pytest

from tests.hosts.fake_a1111 import Host
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.jobs import HOSTS, new_forge, new_host


@pytest.fixture(params=HOSTS.values(), ids=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    """Each host: what holds for one holds for the others."""
    return request.param()


@pytest.fixture
def a1111() -> Host:
    return new_host()


@pytest.fixture
def forge() -> ForgeHost:
    return new_forge()
