"""These tests need a real WebUI with SDFM in it; the variable ``SDFM_WEBUI_URL`` says where it runs."""

from __future__ import annotations

import os

import pytest

from tests.hosts.real.client import A1111, NEO, Pictures, WebUi


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


@pytest.fixture
def a1111(webui: WebUi) -> WebUi:
    """The WebUI under test, if it is AUTOMATIC1111's."""
    if webui.host != A1111:
        pytest.skip(f"this is {webui.host}")
    return webui


@pytest.fixture
def forge(webui: WebUi) -> WebUi:
    """The WebUI under test, if it is Forge or Forge Neo."""
    if not webui.is_forge:
        pytest.skip(f"this is {webui.host}")
    return webui


@pytest.fixture
def with_built_ins(forge: WebUi) -> WebUi:
    """The WebUI under test, if it is Forge with its own PAG, FreeU and dynamic thresholding."""
    if forge.host == NEO:
        pytest.skip("Forge Neo has dropped its own PAG, FreeU and dynamic thresholding")
    return forge


@pytest.fixture
def reader(webui: WebUi) -> WebUi:
    """The WebUI under test, if its API reads generation parameters."""
    if webui.is_forge:
        pytest.skip(
            "the API field `infotext` of Forge fails for any text: it checks hr_additional_modules against a generic type"
        )
    return webui


@pytest.fixture(scope="session")
def loaded(webui: WebUi) -> str:
    """The title of the loaded checkpoint."""
    name, *_ = str(webui.get("/sdapi/v1/options")["sd_model_checkpoint"]).split(" [")
    models = webui.get("/sdapi/v1/sd-models")
    return next(model["title"] for model in models if name in (model["model_name"], model["title"].split(" [")[0]))


@pytest.fixture(scope="session")
def refiners(webui: WebUi, loaded: str) -> list[str]:
    """The titles of other checkpoints to which the WebUI can switch within a picture; small ones if there are any."""
    every = sorted(model["title"] for model in webui.get("/sdapi/v1/sd-models") if model["title"] != loaded)
    others = [title for title in every if "tiny" in title] or every
    found = [title for title in others if webui.can_switch_to(title)]
    if not found:
        pytest.skip(f"{webui.host} can't switch from {loaded} to any of {others}")
    return found


@pytest.fixture(scope="session")
def another_checkpoint(refiners: list[str]) -> str:
    """A checkpoint that is not the loaded one."""
    return refiners[-1]
