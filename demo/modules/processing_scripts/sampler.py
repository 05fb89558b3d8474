"""The panel's sampler, schedule and steps: a script, as in A1111."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import scripts, sd_samplers, sd_schedulers
from modules.infotext_utils import PasteField


class ScriptSampler(scripts.ScriptBuiltinUI):
    section = "sampler"
    create_group = False

    def title(self) -> str:
        return "Sampler"

    def ui(self, is_img2img: bool) -> list[Any]:
        names = sd_samplers.visible_sampler_names()
        schedules = [item.label for item in sd_schedulers.schedulers]
        with gr.Row(elem_id=f"sampler_selection_{self.tabname}"):
            self.sampler_name = gr.Dropdown(
                names, value=names[0], label="Sampling method", elem_id=f"{self.tabname}_sampling", min_width=120
            )
            self.scheduler = gr.Dropdown(
                schedules, value=schedules[0], label="Schedule type", elem_id=f"{self.tabname}_scheduler", min_width=120
            )
            self.steps = gr.Slider(
                1, 150, value=20, step=1, label="Sampling steps", elem_id=f"{self.tabname}_steps", min_width=160
            )
        read = {
            "steps": "Steps",
            "sampler_name": sd_samplers.get_sampler_from_infotext,
            "scheduler": sd_samplers.get_scheduler_from_infotext,
        }
        self.infotext_fields = [PasteField(getattr(self, name), source, api=name) for name, source in read.items()]
        return [field.component for field in self.infotext_fields]

    def setup(self, p: Any, steps: int, sampler_name: str, scheduler: str) -> None:
        p.steps, p.sampler_name, p.scheduler = int(steps), sampler_name, scheduler
