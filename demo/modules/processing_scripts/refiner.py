"""The panel's refiner: a script, as in A1111. What it does is in sd_samplers_common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from modules import scripts, sd_models
from modules.infotext_utils import PasteField
from modules.ui_components import InputAccordion


def _title(params: Mapping[str, Any]) -> str | None:
    info = sd_models.get_closet_checkpoint_match(params.get("Refiner"))
    return None if info is None else info.title


class ScriptRefiner(scripts.ScriptBuiltinUI):
    section = "accordions"
    create_group = False

    def title(self) -> str:
        return "Refiner"

    def ui(self, is_img2img: bool) -> list[Any]:
        with InputAccordion(False, label="Refiner", elem_id=self.elem_id("enable")) as enable, gr.Row():
            checkpoint = gr.Dropdown(
                sd_models.checkpoint_tiles(), value="", label="Checkpoint", elem_id=self.elem_id("checkpoint")
            )
            switch_at = gr.Slider(0.01, 1.0, value=0.8, step=0.01, label="Switch at", elem_id=self.elem_id("switch_at"))
        self.infotext_fields = [
            PasteField(enable, lambda params: "Refiner" in params),
            PasteField(checkpoint, _title, api="refiner_checkpoint"),
            PasteField(switch_at, "Refiner switch at", api="refiner_switch_at"),
        ]
        return [enable, checkpoint, switch_at]

    def setup(self, p: Any, enable: bool, checkpoint: str, switch_at: float) -> None:
        wanted = enable and checkpoint not in (None, "", "None")
        p.refiner_checkpoint, p.refiner_switch_at = (checkpoint, switch_at) if wanted else (None, None)
