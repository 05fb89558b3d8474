"""Whether this WebUI is one that the extension can work in."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

NEEDED = "AUTOMATIC1111 1.10 or newer is needed"


def why_unsupported(scripts: Any, script_callbacks: Any, cmd_opts: Any) -> str | None:
    """The reason not to do anything in this WebUI, or ``None``.

    :param scripts: the host's ``modules.scripts``
    :param script_callbacks: the host's ``modules.script_callbacks``
    :param cmd_opts: the host's command line options
    """
    if getattr(cmd_opts, "sdfm_off", False):
        return "as --sdfm-off says"
    if importlib.util.find_spec("modules_forge") is not None:
        return "Forge is not supported yet"
    if not hasattr(scripts.Script, "process_before_every_sampling"):
        return f"this WebUI is too old: it doesn't tell extensions when a pass begins. {NEEDED}"
    if "denoiser" not in inspect.signature(script_callbacks.CFGDenoiserParams.__init__).parameters:
        return f"this WebUI is too old: it doesn't tell extensions which denoiser calls. {NEEDED}"
    return None
