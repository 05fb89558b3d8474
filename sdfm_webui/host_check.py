"""Check that this WebUI is supported."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import Any

NEEDED = "AUTOMATIC1111 1.10 or newer is needed"


def is_forge() -> bool:
    """Return True if this WebUI is Forge or derived from it: it has Forge's own package beside A1111's."""
    return importlib.util.find_spec("modules_forge") is not None


def has_new_backend() -> bool:
    """Return True if the package ``backend`` that would be imported is that of Forge since August 2024.

    Other packages have that name too.
    """
    return _has_file("backend", "sampling", "sampling_function.py")


def is_reforge() -> bool:
    """Return True if this WebUI is reForge: Forge's package beside ComfyUI's sampling, as of 2025 with its wrappers."""
    return is_forge() and not has_new_backend() and _has_file("ldm_patched", "modules", "patcher_extension.py")


def _has_file(package: str, *path: str) -> bool:
    """Return True if the package that would be imported by this name has a file; nothing is imported for the check."""
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    return any(Path(folder).joinpath(*path).is_file() for folder in folders)


def why_unsupported(scripts: Any, script_callbacks: Any, cmd_opts: Any) -> str | None:
    """Return why this WebUI is not supported, or ``None``.

    :param scripts: the host's ``modules.scripts``
    :param script_callbacks: the host's ``modules.script_callbacks``
    :param cmd_opts: the host's command line options
    """
    if getattr(cmd_opts, "sdfm_off", False):
        return "because of --sdfm-off"
    if is_forge() and not has_new_backend() and not is_reforge():
        return (
            "Forge Classic, Forge before August 2024 and reForge before 2025 sample in a way that SDFM doesn't "
            "support. Forge 2.0, Forge Neo or a newer reForge is needed"
        )
    if not hasattr(scripts.Script, "process_before_every_sampling"):
        return f"this WebUI is too old: it doesn't tell extensions when a pass begins. {NEEDED}"
    if "denoiser" not in inspect.signature(script_callbacks.CFGDenoiserParams.__init__).parameters:
        return f"this WebUI is too old: it doesn't tell extensions which denoiser calls. {NEEDED}"
    return None
