"""Run by the host before it starts. SDFM needs nothing that the host doesn't bring along; this says so if it lacks it."""

import importlib.util
import sys

OLDEST_PYTHON = (3, 10)

if sys.version_info < OLDEST_PYTHON:
    print(f"SDFM: Python {sys.version.split()[0]} is too old, 3.10 or newer is needed")
missing = [name for name in ("torch", "gradio", "fastapi") if importlib.util.find_spec(name) is None]
if missing:
    print(f"SDFM: this WebUI lacks {', '.join(missing)}, and SDFM will not work")
