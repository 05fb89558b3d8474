"""Arguments that reForge's samplers of ComfyUI don't have: they read options of the WebUI instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

PREFIXES = {
    "sample_euler": "euler_og",
    "sample_euler_ancestral": "euler_ancestral_og",
    "sample_heun": "heun_og",
    "sample_heunpp2": "heunpp2",
    "sample_dpmpp_2s_ancestral": "dpm_2s_ancestral_og",
    "sample_dpmpp_sde": "dpmpp_sde_og",
    "sample_dpmpp_sde_classic": "dpmpp_sde_og",
    "sample_dpmpp_2m_sde": "dpmpp_2m_sde_og",
    "sample_dpmpp_3m_sde": "dpmpp_3m_sde_og",
    "sample_euler_ancestral_cfg_pp": "euler_ancestral_cfg_pp",
    "sample_dpmpp_2s_ancestral_cfg_pp": "dpmpp_2s_ancestral_cfg_pp",
    "sample_dpmpp_sde_cfg_pp": "dpmpp_sde_cfg_pp",
    "sample_dpmpp_3m_sde_cfg_pp": "dpmpp_3m_sde_cfg_pp",
}
"""Beginning of the names of a function's options."""
ARGUMENTS = ("eta", "s_churn", "s_tmin", "r")
"""Arguments on which the levels of a sampler's steps depend."""


def arguments_from_options(function: Callable[..., Any], option: Callable[[str], Any]) -> dict[str, Any]:
    """Return the arguments that a sampler's function takes from the WebUI's options.

    :param option: returns the value of an option, ``None`` if there is none of this name
    """
    prefix = PREFIXES.get(getattr(function, "__name__", ""))
    if prefix is None:
        return {}
    own = inspect.signature(function).parameters
    found = {name: option(f"{prefix}_{name}") for name in ARGUMENTS if name not in own}
    return {name: value for name, value in found.items() if value is not None}
