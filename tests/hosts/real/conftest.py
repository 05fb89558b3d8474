"""These tests need a real WebUI with SDFM in it; the variable ``SDFM_WEBUI_URL`` says where it runs."""

from __future__ import annotations

import os

import pytest

from tests.hosts.real.client import Pictures, WebUi


@pytest.fixture(scope="session")
def webui() -> WebUi:
    """The WebUI under test, with the default settings of SDFM's controls."""
    url = os.environ.get("SDFM_WEBUI_URL")
    if not url:
        pytest.skip("SDFM_WEBUI_URL is not set: no real WebUI to test in")
    return WebUi(url)


@pytest.fixture(scope="session")
def plain(webui: WebUi) -> Pictures:
    """The picture without SDFM."""
    return webui.txt2img()
