"""Where things lie. A1111 has ``extensions/`` and ``models/`` beside its code; this host keeps its data in one folder."""

from __future__ import annotations

import os
from pathlib import Path

script_path = str(Path(__file__).resolve().parents[1])
data_path = os.environ.get("SDFM_DEMO_DATA", os.path.join(script_path, "cache"))
shipped_models_path = os.path.join(script_path, "models")
models_path = os.environ.get("SDFM_DEMO_MODELS", shipped_models_path)
outputs_path = os.path.join(data_path, "outputs")

for folder in (models_path, outputs_path):
    os.makedirs(folder, exist_ok=True)
