"""In which WebUIs the extension does nothing, and what it says there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdfm_webui.host_check import is_forge, is_reforge, why_unsupported
from tests.webui.host import CFGDenoiserParams, Script


def reason(**changes: Any) -> str | None:
    scripts = SimpleNamespace(Script=changes.get("script", Script))
    callbacks = SimpleNamespace(CFGDenoiserParams=changes.get("params", CFGDenoiserParams))
    return why_unsupported(scripts, callbacks, SimpleNamespace(sdfm_off=changes.get("off", False)))


def with_packages(folder: Path, patch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "__init__.py").touch()
    patch.syspath_prepend(str(folder))


def test_a1111_is_supported():
    assert not is_forge() and reason() is None


def test_forge_is_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with_packages(tmp_path, monkeypatch, "modules_forge", "backend", "backend/sampling")
    (tmp_path / "backend" / "sampling" / "sampling_function.py").touch()
    assert is_forge() and not is_reforge() and reason() is None


def test_reforge_is_supported_also_beside_another_package_named_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with_packages(tmp_path, monkeypatch, "modules_forge", "backend", "ldm_patched", "ldm_patched/modules")
    (tmp_path / "ldm_patched" / "modules" / "patcher_extension.py").touch()
    assert is_forge() and is_reforge() and reason() is None


@pytest.mark.parametrize("kind", ["package", "module", "folder"])
def test_another_package_named_backend_is_not_forges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str):
    with_packages(tmp_path, monkeypatch, "modules_forge", *(["backend"] if kind == "package" else []))
    if kind == "module":
        (tmp_path / "backend.py").touch()
    if kind == "folder":  # of an extension: without a file that makes it a package, it is one all the same
        (tmp_path / "backend").mkdir()
        (tmp_path / "backend" / "thing.py").touch()
    assert "Forge before August 2024" in reason()


def test_forge_before_its_new_backend_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It has an older copy of ComfyUI's sampling than reForge."""
    with_packages(tmp_path, monkeypatch, "modules_forge", "ldm_patched", "ldm_patched/modules")
    assert not is_reforge() and "Forge before August 2024" in reason()


def test_older_webuis_are_refused():
    assert "pass begins" in reason(script=object)
    assert "which denoiser" in reason(params=type("Params", (), {"__init__": lambda self, x: None}))


def test_it_can_be_switched_off():
    assert "--sdfm-off" in reason(off=True)
