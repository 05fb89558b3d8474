"""One thread (the machines that run this are shared), fixed examples of property tests, and libraries made importable."""

import importlib.util
import os
import sys
import types

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ATTN_PRECISION", "fp16")  # the LDM UNet's attention in the type of its inputs, as the hosts run it

import torch

torch.set_num_threads(1)


def make_libraries_importable() -> None:
    """Lets torchvision, k-diffusion's samplers and the LDM UNet be imported.

    The CPU build of torchvision lacks operators that it describes on import; k-diffusion's package imports training tools;
    the UNet asks whether its configuration came from omegaconf.
    """
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    package = types.ModuleType("k_diffusion")
    package.__spec__ = importlib.util.find_spec("k_diffusion")
    package.__path__ = package.__spec__.submodule_search_locations
    sys.modules["k_diffusion"] = package
    if importlib.util.find_spec("omegaconf") is None:
        sys.modules["omegaconf"] = types.ModuleType("omegaconf")
        sys.modules["omegaconf.listconfig"] = types.ModuleType("omegaconf.listconfig")
        sys.modules["omegaconf.listconfig"].ListConfig = type("ListConfig", (list,), {})


if importlib.util.find_spec("k_diffusion"):  # the environment of gradio 4 has none of these: only the panel is tested there
    make_libraries_importable()

    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "sdfm", deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck), database=None,
        report_multiple_bugs=False,
    )  # fmt: skip
    settings.load_profile("sdfm")
