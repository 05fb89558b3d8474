"""One thread (the machines that run this are shared), fixed examples of property tests, and libraries made importable."""

import importlib.util
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ATTN_PRECISION", "fp16")  # the LDM UNet's attention in the type of its inputs, as the hosts run it

import torch

torch.set_num_threads(1)

if importlib.util.find_spec("k_diffusion"):  # the environment of gradio 4 has none of these: only the panel is tested there
    from demo.importable import make_importable

    make_importable()

    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "sdfm", deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck), database=None,
        report_multiple_bugs=False,
    )  # fmt: skip
    settings.load_profile("sdfm")
