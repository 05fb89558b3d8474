"""The panel's seeds: a script, as in A1111."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import scripts
from modules.infotext_utils import PasteField


class ScriptSeed(scripts.ScriptBuiltinUI):
    section = "seed"
    create_group = False

    def title(self) -> str:
        return "Seed"

    def ui(self, is_img2img: bool) -> list[Any]:
        with gr.Row():
            self.seed = gr.Number(label="Seed (-1: random)", value=-1, precision=0, elem_id=self.elem_id("seed"), min_width=110)
            subseed = gr.Number(label="Variation seed", value=-1, precision=0, elem_id=self.elem_id("subseed"), min_width=110)
            strength = gr.Slider(
                0, 1, value=0.0, step=0.01, label="Variation strength", elem_id=self.elem_id("subseed_strength"), min_width=160
            )
        self.infotext_fields = [
            PasteField(self.seed, "Seed", api="seed"),
            PasteField(subseed, "Variation seed", api="subseed"),
            PasteField(strength, lambda params: params.get("Variation seed strength", 0.0), api="subseed_strength"),
        ]
        return [self.seed, subseed, strength]

    def setup(self, p: Any, seed: int, subseed: int, subseed_strength: float) -> None:
        p.seed, p.subseed, p.subseed_strength = seed, subseed, subseed_strength
