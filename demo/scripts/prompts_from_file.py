"""Several prompts, one job each, with A1111's controls."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from copy import copy
from typing import Any

import gradio as gr
from modules import scripts
from modules.processing import Processed, process_images

OPTIONS: dict[str, Callable[[str], Any]] = {
    "prompt": str, "negative_prompt": str, "sampler_name": str, "seed": int, "subseed": int, "subseed_strength": float,
    "batch_size": int, "n_iter": int, "steps": int, "cfg_scale": float, "width": int, "height": int,
}  # fmt: skip
"""Fields that a line may set."""


def options_of(line: str) -> dict[str, Any]:
    """Of ``--prompt "a house" --steps 4``; a line without ``--`` is a prompt.

    :raises ValueError: if there is an unknown option, or one without a value
    """
    if "--" not in line:
        return {"prompt": line}
    words, found = shlex.split(line), {}
    for option, value in zip(words[::2], words[1::2] + [None] * (len(words) % 2)):
        name = option.removeprefix("--")
        if name not in OPTIONS or value is None:
            raise ValueError(f"unknown option, or no value: {option}")
        found[name] = OPTIONS[name](value)
    return found


class Script(scripts.Script):
    def title(self) -> str:
        return "Prompts from file or textbox"

    def ui(self, is_img2img: bool) -> list[Any]:
        iterate = gr.Checkbox(label="Iterate seed every line", value=False, elem_id=self.elem_id("checkbox_iterate"))
        same = gr.Checkbox(
            label="Use same random seed for all lines", value=False, elem_id=self.elem_id("checkbox_iterate_batch")
        )
        place = gr.Radio(
            ["start", "end"], label="Insert prompts at the", value="start", elem_id=self.elem_id("prompt_position")
        )
        lines = gr.Textbox(label="List of prompt inputs", lines=1, elem_id=self.elem_id("prompt_txt"))
        return [iterate, same, place, lines]

    def run(self, p: Any, iterate: bool, same: bool, place: str, lines: str) -> Processed:
        """Each job has a copy of the processing object, and shares with the others whatever the object holds."""
        p.do_not_save_grid = True
        pictures, prompts, texts = [], [], []
        for line in filter(None, map(str.strip, lines.splitlines())):
            done = process_images(_job(p, options_of(line), place))
            if iterate:
                p.seed += p.batch_size * p.n_iter
            pictures, prompts, texts = pictures + done.images, prompts + done.all_prompts, texts + done.infotexts
        return Processed(p, pictures, p.seed, "", all_prompts=prompts, infotexts=texts)


def _job(p: Any, options: dict[str, Any], place: str) -> Any:
    job = copy(p)
    for name, value in options.items():
        setattr(job, name, value)
    for name in ("prompt", "negative_prompt"):
        own, common = options.get(name), getattr(p, name)
        if own and common:
            setattr(job, name, f"{own} {common}" if place == "start" else f"{common} {own}")
    return job
