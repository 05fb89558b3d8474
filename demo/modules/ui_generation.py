"""The common part of both tabs: controls of a job, the result, and the button that makes it."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from modules import errors, infotext_utils, scripts, shared
from modules.call_queue import queue_lock
from modules.infotext_utils import ParamBinding, PasteField
from modules.processing import process_images
from modules.ui_components import GRADIO_4, ToolButton

POLL_SECONDS = 0.3


@dataclass
class Controls:
    """The controls of one tab.

    :param fields: names of the processing object's fields, with their controls
    :param paste_fields: what pasting does to them
    """

    tabname: str
    fields: dict[str, Any] = field(default_factory=dict)
    paste_fields: list[PasteField] = field(default_factory=list)

    def add(self, name: str, component: Any, target: Any = None) -> Any:
        """A control that is a field of the job and of the API."""
        self.fields[name] = component
        if target is not None:
            self.paste_fields.append(PasteField(component, target, api=name))
        return component


@dataclass
class Top:
    """Prompts and buttons."""

    prompt: Any
    negative_prompt: Any
    generate: Any
    interrupt: Any
    paste: Any


@dataclass
class Output:
    """The result.

    :param info: the text of the selected picture
    :param log: what else is to say of the job: notes, errors, time
    :param generation_info: the texts of all pictures; not seen
    """

    progress: Any
    gallery: Any
    info: Any
    log: Any
    generation_info: Any
    selected: Any
    buttons: dict[str, Any]


def build_top(controls: Controls) -> Top:
    tab = controls.tabname
    with gr.Row(elem_id=f"{tab}_toprow", elem_classes=["top"]):
        with gr.Column(scale=5, min_width=280):
            prompt = gr.Textbox("", label="Prompt", lines=3, elem_id=f"{tab}_prompt", placeholder="Prompt, or a text to paste")
            negative = gr.Textbox("", label="Negative prompt", lines=2, elem_id=f"{tab}_neg_prompt")
        with gr.Column(scale=1, min_width=160, elem_classes=["actions"]):
            generate = gr.Button("Generate", variant="primary", elem_id=f"{tab}_generate")
            with gr.Row():
                interrupt = gr.Button("Interrupt", elem_id=f"{tab}_interrupt", min_width=80, size="sm")
                paste = ToolButton("\u2199 Paste", elem_id=f"{tab}_paste", min_width=80, size="sm")
    controls.add("prompt", prompt, "Prompt")
    controls.add("negative_prompt", negative, "Negative prompt")
    interrupt.click(fn=lambda: shared.state.interrupt(), inputs=[], outputs=[], queue=False)
    return Top(prompt, negative, generate, interrupt, paste)


def build_sizes(controls: Controls) -> None:
    tab = controls.tabname

    def slider(name: str, label: str, target: str | None, low: float, high: float, value: float, step: float) -> None:
        control = gr.Slider(low, high, value=value, step=step, label=label, elem_id=f"{tab}_{name}", min_width=160)
        controls.add(name, control, target)

    with gr.Row():
        slider("width", "Width", "Size-1", 64, 2048, 128, 8)
        slider("height", "Height", "Size-2", 64, 2048, 128, 8)
        slider("cfg_scale", "CFG Scale", "CFG scale", 1.0, 30.0, 7.0, 0.5)
    with gr.Row():
        slider("n_iter", "Batch count", None, 1, 16, 1, 1)
        slider("batch_size", "Batch size", "Batch size", 1, 8, 1, 1)


def build_output(tabname: str, send_to: list[str]) -> Output:
    progress = gr.HTML("", elem_id=f"{tabname}_progress")
    gallery = gr.Gallery(
        label="Output", show_label=False, elem_id=f"{tabname}_gallery", preview=True, columns=2, object_fit="contain",
        height=420, **_gallery_arguments(),
    )  # fmt: skip
    with gr.Row():
        buttons = {tab: ToolButton(f"Send to {tab}", elem_id=f"{tabname}_send_to_{tab}", min_width=90) for tab in send_to}
    info = gr.HTML("", elem_id=f"html_info_{tabname}", elem_classes=["infotext"])
    log = gr.HTML("", elem_id=f"html_log_{tabname}", elem_classes=["infotext"])
    generation_info = gr.State([])
    selected = gr.State(0)
    output = Output(progress, gallery, info, log, generation_info, selected, buttons)

    def select(texts: list[str], event: gr.SelectData) -> tuple[int, str]:
        return event.index, infotext_html(texts[event.index] if event.index < len(texts) else "")

    gallery.select(fn=select, inputs=[generation_info], outputs=[selected, info])
    return output


def _gallery_arguments() -> dict[str, Any]:
    """PNG keeps the pictures' texts; gradio 4 would take another format, and uploads."""
    return {"format": "png", "interactive": False} if GRADIO_4 else {}


def infotext_html(text: str) -> str:
    return "".join(f"<p>{html.escape(line)}</p>" for line in text.split("\n") if line)


def _log_html(comments: str, seconds: float) -> str:
    """A job's comments and duration. The time of its end makes the text a new one: gradio 4 doesn't draw an equal one again."""
    notes = "".join(f"<li>{html.escape(line)}</li>" for line in comments.split("\n") if line)
    ended = f"<p class='time' data-ended='{time.time()}'>Time taken: {seconds:.1f} s</p>"
    return (f"<ul class='comments'>{notes}</ul>" if notes else "") + ended


def progress_html() -> str:
    """The bar with its counter."""
    state = shared.state
    percent = round(state.fraction() * 100)
    label = f"{state.job if state.job.startswith('Batch') else ''} step {state.sampling_step}/{state.sampling_steps}".strip()
    return f"<div class='progress'><div class='bar' style='width: {percent}%'></div><span>{label} ({percent}%)</span></div>"


def run_job(make: Callable[..., Any], runner: Any, names: list[str], values: tuple[Any, ...]) -> Any:
    """One job of the panel: fields first, then the settings that were pasted, then the arguments of the scripts."""
    fields = dict(zip(names, values))
    override = infotext_utils.create_override_settings_dict(values[len(names)])
    script_args = values[len(names) + 1 :]
    with queue_lock, closing(make(**fields, override_settings=override)) as p:
        shared.state.begin(job=f"task({make.__name__})")
        try:
            p.scripts, p.script_args = runner, script_args
            return runner.run(p, *script_args) or process_images(p)
        finally:
            shared.state.end()


class _Job(threading.Thread):
    """A job beside the panel, which shows its progress meanwhile."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work, self.result, self.error = work, None, None

    def run(self) -> None:
        try:
            self.result = self._work()
        except Exception as error:
            errors.report("Error completing request", exc_info=True)
            self.error = error


def generating(make: Callable[..., Any], runner: Any, names: list[str]) -> Callable[..., Iterator[list[Any]]]:
    """The button's function: yields progress, then pictures and texts; an exception becomes its type and text in the panel."""

    def generate(*values: Any) -> Iterator[list[Any]]:
        started = time.perf_counter()
        job = _Job(lambda: run_job(make, runner, names, values))
        job.start()
        same = gr.update()
        while job.is_alive():
            yield [progress_html(), same, same, "", same, same]
            job.join(POLL_SECONDS)
        if job.error is not None:
            text = html.escape(f"{type(job.error).__name__}: {job.error}")
            yield ["", same, same, f"<div class='error'>{text}</div>", same, same]
            return
        result = job.result
        log = _log_html(result.comments, time.perf_counter() - started)
        yield ["", result.images, infotext_html(result.infotexts[0]), log, result.infotexts, 0]

    return generate


def connect(
    controls: Controls, top: Top, output: Output, make: Callable[..., Any], override: Any, script_inputs: list[Any]
) -> None:
    """Ties the buttons of a finished tab."""
    runner = scripts.scripts_img2img if controls.tabname == "img2img" else scripts.scripts_txt2img
    top.generate.click(
        fn=generating(make, runner, list(controls.fields)),
        inputs=[*controls.fields.values(), override, *script_inputs],
        outputs=[output.progress, output.gallery, output.info, output.log, output.generation_info, output.selected],
        show_progress="hidden",
    )
    controls.paste_fields += runner.infotext_fields
    infotext_utils.add_paste_fields(controls.tabname, controls.fields.get("init_images"), controls.paste_fields, override)
    infotext_utils.register_paste_params_button(
        ParamBinding(paste_button=top.paste, tabname=controls.tabname, source_text_component=top.prompt)
    )
