"""State shared by all modules: options, state, the loaded model."""

from __future__ import annotations

from typing import Any

from modules import devices, shared_cmd_options
from modules.options import Options
from modules.shared_options import option_templates
from modules.shared_state import State
from modules.styles import StyleDatabase

cmd_opts = shared_cmd_options.cmd_opts
parser = shared_cmd_options.parser
opts = Options(option_templates)
state = State()
prompt_styles = StyleDatabase()
device = devices.device
sd_model: Any = None

_interpolations = {"": "bilinear", " (bicubic)": "bicubic", " (nearest)": "nearest", " (nearest-exact)": "nearest-exact"}
latent_upscale_modes = {f"Latent{name}": {"mode": mode, "antialias": False} for name, mode in _interpolations.items()}
latent_upscale_modes["Latent (antialiased)"] = {**latent_upscale_modes["Latent"], "antialias": True}
latent_upscale_default_mode = next(iter(latent_upscale_modes))
