"""The panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from PIL import Image

import modules.gradio_extensions  # noqa: F401
from modules import images, infotext_utils, script_callbacks, scripts, sd_models, sd_samplers, sd_schedulers, shared, sheets
from modules.call_queue import queue_lock
from modules.infotext_utils import ParamBinding
from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img
from modules.ui_components import GRADIO_4, JS, InputAccordion
from modules.ui_generation import Controls, Output, build_output, build_sizes, build_top, connect, infotext_html

SECTIONS_BEFORE, SECTIONS_AFTER = ("sampler",), ("seed", "accordions")


def _has_hires(params: Mapping[str, Any]) -> bool:
    marks = ("Hires upscale", "Hires upscaler", "Hires resize-1")
    return "Denoising strength" in params and any(params.get(mark) for mark in marks)


def _build_hires_samplers() -> tuple[Any, Any, Any]:
    """Checkpoint, sampler and schedule of the hires pass."""
    with gr.Row():
        checkpoint = gr.Dropdown(
            ["Use same checkpoint", *sd_models.checkpoint_tiles()], value="Use same checkpoint", label="Hires checkpoint",
            elem_id="hr_checkpoint", min_width=160,
        )  # fmt: skip
        sampler = gr.Dropdown(
            [sd_samplers.SAME_SAMPLER, *sd_samplers.visible_sampler_names()], value=sd_samplers.SAME_SAMPLER,
            label="Hires sampling method", elem_id="hr_sampler", min_width=160,
        )  # fmt: skip
        schedule = gr.Dropdown(
            [sd_samplers.SAME_SCHEDULER, *(item.label for item in sd_schedulers.schedulers)],
            value=sd_samplers.SAME_SCHEDULER, label="Hires schedule type", elem_id="hr_scheduler", min_width=160,
        )  # fmt: skip
    return checkpoint, sampler, schedule


def _build_hires(controls: Controls) -> None:
    """The hires pass, under A1111's ids."""
    with InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr") as enable:
        with gr.Row():
            upscaler = gr.Dropdown(
                list(shared.latent_upscale_modes), value=shared.latent_upscale_default_mode, label="Upscaler",
                elem_id="txt2img_hr_upscaler", min_width=120,
            )  # fmt: skip
            steps = gr.Slider(0, 150, value=0, step=1, label="Hires steps", elem_id="txt2img_hires_steps", min_width=160)
            strength = gr.Slider(
                0.0, 1.0, value=0.7, step=0.01, label="Denoising strength", elem_id="txt2img_denoising_strength", min_width=160
            )
        with gr.Row():
            scale = gr.Slider(1.0, 4.0, value=2.0, step=0.05, label="Upscale by", elem_id="txt2img_hr_scale", min_width=160)
            width = gr.Slider(0, 2048, value=0, step=8, label="Resize width to", elem_id="txt2img_hr_resize_x", min_width=160)
            height = gr.Slider(0, 2048, value=0, step=8, label="Resize height to", elem_id="txt2img_hr_resize_y", min_width=160)
        checkpoint, sampler, schedule = _build_hires_samplers()
        with gr.Row():
            prompt = gr.Textbox("", label="Hires prompt", lines=1, elem_id="hires_prompt")
            negative = gr.Textbox("", label="Hires negative prompt", lines=1, elem_id="hires_neg_prompt")
    for name, control, target in (
        ("denoising_strength", strength, "Denoising strength"),
        ("enable_hr", enable, _has_hires),
        ("hr_scale", scale, "Hires upscale"),
        ("hr_upscaler", upscaler, "Hires upscaler"),
        ("hr_second_pass_steps", steps, "Hires steps"),
        ("hr_resize_x", width, "Hires resize-1"),
        ("hr_resize_y", height, "Hires resize-2"),
        ("hr_checkpoint_name", checkpoint, "Hires checkpoint"),
        ("hr_sampler_name", sampler, sd_samplers.get_hr_sampler_from_infotext),
        ("hr_scheduler", schedule, sd_samplers.get_hr_scheduler_from_infotext),
        ("hr_prompt", prompt, "Hires prompt"),
        ("hr_negative_prompt", negative, "Hires negative prompt"),
    ):
        controls.add(name, control, target)


def make_txt2img(**fields: Any) -> StableDiffusionProcessingTxt2Img:
    """A job from the panel's values."""
    for name, same in (
        ("hr_checkpoint_name", "Use same checkpoint"),
        ("hr_sampler_name", sd_samplers.SAME_SAMPLER),
        ("hr_scheduler", sd_samplers.SAME_SCHEDULER),
    ):
        fields[name] = None if fields[name] == same else fields[name]
    return StableDiffusionProcessingTxt2Img(sd_model=shared.sd_model, **fields)


def make_img2img(**fields: Any) -> StableDiffusionProcessingImg2Img:
    """A job from the panel's values.

    :raises ValueError: without a picture
    """
    picture = fields.pop("init_images")
    if picture is None:
        raise ValueError("img2img needs a picture")
    return StableDiffusionProcessingImg2Img(sd_model=shared.sd_model, init_images=[picture], **fields)


def _override_settings(tabname: str) -> Any:
    """Settings that came with a pasted text; gradio 3 has no custom values here, gradio 4 checks without them."""
    custom = {"allow_custom_value": True} if GRADIO_4 else {}
    elem_id = f"{tabname}_override_settings"
    return gr.Dropdown([], value=[], multiselect=True, label="Override settings", visible=False, elem_id=elem_id, **custom)


def _build_tab(tabname: str, other: str) -> tuple[Controls, Output]:
    """One of the two generation tabs."""
    runner = scripts.scripts_img2img if tabname == "img2img" else scripts.scripts_txt2img
    runner.initialize_scripts(tabname == "img2img")
    runner.prepare_ui()
    controls = Controls(tabname)
    top = build_top(controls)
    with gr.Row(elem_classes=["settings-and-result"]):
        with gr.Column(min_width=300, elem_id=f"{tabname}_settings"):
            if tabname == "img2img":
                _build_picture(controls)
            _sections(runner, SECTIONS_BEFORE)
            build_sizes(controls)
            _sections(runner, SECTIONS_AFTER[:1])
            if tabname == "txt2img":
                _build_hires(controls)
            _sections(runner, SECTIONS_AFTER[1:])
            override = _override_settings(tabname)
            script_inputs = runner.setup_ui()
        with gr.Column(min_width=300, elem_id=f"{tabname}_results"):
            output = build_output(tabname, [other])
    make = make_img2img if tabname == "img2img" else make_txt2img
    connect(controls, top, output, make, override, script_inputs)
    return controls, output


def _sections(runner: Any, names: tuple[str, ...]) -> None:
    for name in names:
        runner.setup_ui_for_section(name)


def _build_picture(controls: Controls) -> None:
    controls.add("init_images", gr.Image(label="Picture", type="pil", elem_id="img2img_image", height=260))
    strength = gr.Slider(0.0, 1.0, value=0.75, step=0.01, label="Denoising strength", elem_id="img2img_denoising_strength")
    controls.add("denoising_strength", strength, "Denoising strength")


def _build_png_info(tabs: Any) -> None:
    """A picture's text, and two buttons that paste it."""
    with gr.Row():
        picture = gr.Image(label="Picture", type="pil", elem_id="pnginfo_image", image_mode="RGBA")
        with gr.Column():
            shown = gr.HTML("", elem_classes=["infotext"])
            text = gr.Textbox("", visible=False, elem_id="pnginfo_generation_info")
            buttons = {tab: gr.Button(f"Send to {tab}", elem_id=f"pnginfo_send_to_{tab}") for tab in ("txt2img", "img2img")}

    def read(picture: Image.Image | None) -> tuple[str, str]:
        found = (images.read_info_from_image(picture)[0] if picture is not None else None) or ""
        return infotext_html(found) or "<p>No generation parameters.</p>", found

    picture.change(fn=read, inputs=[picture], outputs=[shown, text])
    for tab, button in buttons.items():
        infotext_utils.register_paste_params_button(ParamBinding(paste_button=button, tabname=tab, source_text_component=text))
        button.click(fn=None, inputs=[], outputs=[], **{JS: f"() => showTab('{tab}')"})


def _connect_sending(of: dict[str, tuple[Controls, Output]]) -> None:
    """ "Send to ...": A1111 pairs the controls of the tabs; the picture and its size go along to img2img."""
    for tabname, (_, output) in of.items():
        runner = scripts.scripts_img2img if tabname == "img2img" else scripts.scripts_txt2img
        for destination, button in output.buttons.items():
            infotext_utils.register_paste_params_button(
                ParamBinding(
                    paste_button=button,
                    tabname=destination,
                    source_tabname=tabname,
                    paste_field_names=runner.paste_field_names,
                )
            )
            fields = of[destination][0].fields
            if "init_images" in fields:
                button.click(
                    fn=_picture_and_size,
                    inputs=[output.gallery, output.selected],
                    outputs=[fields["init_images"], fields["width"], fields["height"]],
                )
            button.click(fn=None, inputs=[], outputs=[], **{JS: f"() => showTab('{destination}')"})


def _picture_and_size(gallery: list[Any] | None, index: int) -> list[Any]:
    """Of the gallery's items: file names in gradio 3 dictionaries or gradio 4 pairs."""
    if not gallery:
        return [gr.update(), gr.update(), gr.update()]
    item = gallery[min(index, len(gallery) - 1)]
    path = item["name"] if isinstance(item, dict) else item[0] if isinstance(item, list | tuple) else item
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    size = picture.size if shared.opts.send_size else (gr.update(), gr.update())
    return [picture, *size]


def choose_checkpoint(title: str) -> None:
    """Loads another checkpoint, between two jobs."""
    with queue_lock:
        shared.opts.set("sd_model_checkpoint", title)
        sd_models.reload_model_weights()


def _build_checkpoint() -> None:
    """A1111's menu at the top; each time the page is loaded it shows what is chosen by then."""
    with gr.Row(elem_id="quicksettings"):
        menu = gr.Dropdown(
            sd_models.checkpoint_tiles(),
            value=lambda: sd_models.select_checkpoint().title,
            label="Stable Diffusion checkpoint",
            elem_id="setting_sd_model_checkpoint",
        )
    menu.input(fn=choose_checkpoint, inputs=[menu], outputs=[], queue=False)


def create_ui() -> gr.Blocks:
    """Builds everything: the checkpoint's menu, both tabs, PNG info, and the sheets."""
    infotext_utils.reset()
    script_callbacks.before_ui_callback()
    script_callbacks.ui_settings_callback()
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    with gr.Blocks(title="WebUI (demo)", theme=theme, analytics_enabled=False) as blocks:
        gr.HTML("<p>A small host for trying the extension: small models of shapes, real samplers.</p>", elem_id="about")
        _build_checkpoint()
        with gr.Tabs(elem_id="tabs") as tabs:
            of: dict[str, tuple[Controls, Output]] = {}
            for tabname, other in (("txt2img", "img2img"), ("img2img", "txt2img")):
                with gr.Tab(tabname, id=tabname, elem_id=f"tab_{tabname}"):
                    of[tabname] = _build_tab(tabname, other)
            with gr.Tab("PNG Info", id="pnginfo", elem_id="tab_pnginfo"):
                _build_png_info(tabs)
            with gr.Tab("Techniques", id="techniques", elem_id="tab_techniques"):
                sheets.build()
        _connect_sending(of)
        infotext_utils.connect_paste_params_buttons()
    return blocks
