"""The demo host in this process: loaded once, with the extension, and gone again after these tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "demo"
HOST_MODULES = ("modules", "importable", "examples", "pictures", "launch")


def _forget_host() -> dict:
    """Takes the host's modules out of ``sys.modules``: other tests have their own ``modules``."""
    names = [name for name in sys.modules if name.split(".")[0] in HOST_MODULES]
    return {name: sys.modules.pop(name) for name in names}


RANDOM_MODELS = DEMO / "cache" / "random_models"
"""Checkpoints with random weights, for tests that need no pictures. Kept: making them takes longer than all tests."""


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="package")
def host(data_folder):
    """The host with the extension, as :class:`tests.demo.client.Host`. First a picture without any extension is made."""
    others, path_before = _forget_host(), list(sys.path)
    environment = dict(os.environ)
    os.environ.update(SDFM_DEMO_DATA=str(data_folder), SDFM_DEMO_MODELS=str(RANDOM_MODELS))
    os.environ.update(COMMANDLINE_ARGS="", GRADIO_ANALYTICS_ENABLED="False")
    sys.path.insert(0, str(DEMO))
    try:
        from .client import Host
        from .random_models import ensure_checkpoints

        ensure_checkpoints(RANDOM_MODELS)

        yield Host(DEMO)
    finally:
        _forget_host()
        sys.modules.update(others)
        sys.path[:] = path_before
        os.environ.clear()
        os.environ.update(environment)


@pytest.fixture(scope="module")
def shapes_host(host):
    """The host with the shipped checkpoints."""
    from modules import paths, sd_models

    def take(folder):
        paths.models_path = str(folder)
        sd_models.forget_models()
        sd_models.list_models()
        sd_models.reload_model_weights()

    before = paths.models_path
    take(paths.shipped_models_path)
    yield host
    take(before)


@pytest.fixture(scope="module")
def switching(shapes_host):
    """The host with the shipped checkpoints, as :class:`tests.demo.switching.Switching`."""
    from .switching import Switching

    return Switching(shapes_host)


@pytest.fixture
def expected(shapes_host):
    """From values of the panel to the pass in which the refiner takes over."""
    from modules import libraries, sd_samplers, sd_samplers_common, sd_samplers_kdiffusion, sd_samplers_timesteps, shared

    from sdfm_webui.expectation import HostSchedule
    from sdfm_webui.noise_tables import NoiseTables
    from sdfm_webui.samplers import SamplerModules

    modules = SamplerModules(sd_samplers, sd_samplers_common, sd_samplers_kdiffusion, sd_samplers_timesteps, libraries.sampling)
    tables = NoiseTables(libraries.external, None, shared.opts)
    return HostSchedule(modules, shared.opts, lambda: shared.sd_model, tables, goes_by_calls=False)


@pytest.fixture(autouse=True)
def as_before(request):
    """Settings and the list of swallowed errors are fresh for each test that has the host."""
    if "host" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("host").reset()
    yield
