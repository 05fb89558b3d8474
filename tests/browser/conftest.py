"""One server and one page for all tests in a browser, for each gradio."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .panel import Panel, chromium, opened, pythons


def under(gradio: str) -> pytest.MarkDecorator:
    """Run a test under one gradio: what it is about happens in the browser and in our scripts, whatever gradio there is."""
    return pytest.mark.parametrize("panel", [gradio], indirect=True)


@pytest.fixture(scope="package", params=["gradio3", "gradio4"])
def panel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """The page, as a test before has left it: each test begins by setting what it is about."""
    pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    if chromium() is None:
        pytest.skip("chromium is not installed (apt-get install chromium): no browser tests")
    if request.param not in pythons():
        pytest.skip("there is no .venv-gradio4: `make test` makes it")
    with opened(pythons()[request.param], tmp_path_factory.mktemp(request.param)) as shown:
        yield shown
