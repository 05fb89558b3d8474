"""The WebUIs' stand-ins, with SDFM in them."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

if importlib.util.find_spec("k_diffusion"):  # the tests in `real` need none of it
    from tests.hosts.jobs import HOSTS, new_forge, new_host

    @pytest.fixture(params=HOSTS.values(), ids=HOSTS)
    def host(request: pytest.FixtureRequest) -> Any:
        """Each host: what holds for one holds for the others."""
        return request.param()

    @pytest.fixture
    def a1111() -> Any:
        return new_host()

    @pytest.fixture
    def forge() -> Any:
        return new_forge()
