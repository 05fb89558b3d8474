"""Executes extension files as modules of their own, and asks extensions for their command line options."""

from __future__ import annotations

import argparse
import importlib.util
import os
from types import ModuleType

from modules import errors

loaded_scripts: dict[str, ModuleType] = {}


def load_module(path: str) -> ModuleType:
    """Runs a file under its bare name; it does not become importable."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded_scripts[path] = module
    return module


def preload_extensions(folders: list[str], parser: argparse.ArgumentParser) -> None:
    """Calls ``preload(parser)`` of each extension that has a preload.py; errors are swallowed."""
    for folder in folders:
        path = os.path.join(folder, "preload.py")
        if not os.path.isfile(path):
            continue
        try:
            module = load_module(path)
            if hasattr(module, "preload"):
                module.preload(parser)
        except Exception:
            errors.report(f"Error running preload() for {path}", exc_info=True)
