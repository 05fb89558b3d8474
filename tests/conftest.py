"""One thread (the machines that run this are shared), fixed examples of property tests, importable libraries, and order."""

import gc
import importlib.util
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ATTN_PRECISION", "fp16")  # the LDM UNet's attention in the type of its inputs, as the hosts run it

import pytest
import torch

from tests.progress import Progress

torch.set_num_threads(1)
gc.set_threshold(20_000)  # else a tenth of the time is spent collecting garbage

if importlib.util.find_spec("k_diffusion"):  # the environment of gradio 4 has none of these: only the panel is tested there
    from demo.importable import make_importable

    make_importable()

    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "sdfm", deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck), database=None,
        report_multiple_bugs=False,
    )  # fmt: skip
    settings.register_profile("fast", settings.get_profile("sdfm"), max_examples=10)
    settings.load_profile("sdfm")

DEMO = "tests/demo/"
LONGEST = ("tests/browser/", DEMO, "tests/hosts/")
"""Folders whose tests come first: what is left for the process that ends before the other is short."""


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # of a process that runs tests for another one
        config.pluginmanager.register(Progress(config))


def pytest_collection_finish() -> None:
    """Hide what stays to the end, thousands of tests and modules, from the garbage collector."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests, and keep those together that share what is slow to set up: a file, the demo, a gradio in a browser."""
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        file = item.nodeid.split("::")[0]
        shared = DEMO if file.startswith(DEMO) else file
        item.add_marker(pytest.mark.xdist_group(parameters.get("panel", shared)))
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in LONGEST])
