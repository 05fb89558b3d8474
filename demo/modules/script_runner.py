"""The scripts of one tab: their controls, the list of all their arguments, and their callbacks in order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import gradio as gr

from modules import errors, scripts
from modules.api.models import ScriptArg, ScriptInfo

ARGUMENT_FACTS = ("value", "minimum", "maximum", "step")


class ScriptRunner:
    """``inputs[0]`` is the dropdown of selectable scripts; then come the controls of all scripts."""

    def __init__(self) -> None:
        self.scripts: list[Any] = []
        self.selectable_scripts: list[Any] = []
        self.alwayson_scripts: list[Any] = []
        self.titles: list[str] = []
        self.title_map: dict[str, Any] = {}
        self.infotext_fields: list[Any] = []
        self.paste_field_names: list[Any] = []
        self.inputs: list[Any] = [None]

    def initialize_scripts(self, is_img2img: bool) -> None:
        """One instance of each class that wants to be shown in this tab."""
        for found in (self.scripts, self.selectable_scripts, self.alwayson_scripts):
            found.clear()
        for data in scripts.scripts_data:
            if data.script_class in (scripts.Script, scripts.ScriptBuiltinUI):
                continue
            try:
                script = data.script_class()
            except Exception:
                errors.report(f"Error # failed to initialize Script {data.path}", exc_info=True)
                continue
            script.filename = data.path
            script.is_img2img = is_img2img
            script.tabname = "img2img" if is_img2img else "txt2img"
            shown = script.show(is_img2img)
            if shown is scripts.AlwaysVisible:
                script.alwayson = True
                self.alwayson_scripts.append(script)
            elif shown:
                self.selectable_scripts.append(script)
            else:
                continue
            self.scripts.append(script)

    def prepare_ui(self) -> None:
        """Before the controls are built."""
        self.inputs = [None]
        self.infotext_fields, self.paste_field_names = [], []

    def create_script_ui(self, script: Any) -> None:
        """Builds one script's controls; its arguments are the controls that ``ui()`` returns."""
        script.args_from = script.args_to = len(self.inputs)
        controls = scripts.wrap_call(script.ui, script.filename, "ui", script.is_img2img)
        script.controls = controls
        if controls is None:
            return
        script.name = scripts.wrap_call(script.title, script.filename, "title", default=script.filename).lower()
        arguments = [_argument(control) for control in controls]
        script.api_info = ScriptInfo(
            name=script.name, is_alwayson=script.alwayson, is_img2img=script.is_img2img, args=arguments
        )
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += controls
        script.args_to = len(self.inputs)

    def setup_ui_for_section(self, section: str | None, scriptlist: list[Any] | None = None) -> None:
        candidates = self.alwayson_scripts if scriptlist is None else scriptlist
        for script in [item for item in candidates if item.section == section or not item.alwayson]:
            with gr.Group(visible=script.alwayson) if script.create_group else nullcontext() as script.group:
                self.create_script_ui(script)

    def setup_ui(self) -> list[Any]:
        """The controls of all scripts that belong to no other section, and the dropdown with those of the others."""
        self.title_map = {script.title().lower(): script for script in self.scripts}
        self.titles = [script.title() for script in self.selectable_scripts]
        self.setup_ui_for_section(None)
        tab = self.scripts[0].tabname if self.scripts else "txt2img"
        dropdown = gr.Dropdown(
            label="Script", elem_id=f"{tab}_script_list", choices=["None", *self.titles], value="None", type="index"
        )
        self.inputs[0] = dropdown
        self.setup_ui_for_section(None, self.selectable_scripts)
        groups = [script.group for script in self.selectable_scripts]
        dropdown.change(
            fn=lambda index: [gr.update(visible=index == i + 1) for i in range(len(groups))] if len(groups) != 1
            else gr.update(visible=index == 1),
            inputs=[dropdown],
            outputs=groups,
        )  # fmt: skip
        self.infotext_fields.append((dropdown, lambda params: gr.update(value=params.get("Script", "None"))))
        return self.inputs

    def run(self, p: Any, *args: Any) -> Any:
        """Runs the script chosen in the dropdown; None if there is none."""
        if not args or not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from : script.args_to])

    def script(self, title: str) -> Any:
        return self.title_map.get(title.lower())

    def _call(self, callback: str, p: Any, *leading: Any, **kwargs: Any) -> None:
        """One callback of all always-on scripts that have it, each with its own arguments."""
        for script in self.alwayson_scripts:
            if getattr(type(script), callback, None) is getattr(scripts.Script, callback, None):
                continue
            try:
                args = p.script_args[script.args_from : script.args_to]
                getattr(script, callback)(p, *leading, *args, **kwargs)
            except Exception:
                errors.report(f"Error running {callback}: {script.filename}", exc_info=True)

    def setup_scrips(self, p: Any, *, is_ui: bool = True) -> None:
        """The misspelling is the host's."""
        for script in self.alwayson_scripts:
            if type(script).setup is scripts.Script.setup or (not is_ui and script.setup_for_ui_only):
                continue
            args = p.script_args[script.args_from : script.args_to]
            scripts.wrap_call(script.setup, script.filename, "setup", p, *args)

    def post_sample(self, p: Any, after: Any) -> None:
        self._call("post_sample", p, after)

    def postprocess(self, p: Any, processed: Any) -> None:
        self._call("postprocess", p, processed)

    def postprocess_batch(self, p: Any, images: Any, **kwargs: Any) -> None:
        self._call("postprocess_batch", p, images=images, **kwargs)

    def postprocess_image(self, p: Any, wrapped: Any) -> None:
        self._call("postprocess_image", p, wrapped)


def _calling(callback: str) -> Callable[..., None]:
    def call(self: ScriptRunner, p: Any, **kwargs: Any) -> None:
        self._call(callback, p, **kwargs)

    call.__name__ = callback
    return call


for _name in (
    "before_process",
    "process",
    "before_process_batch",
    "process_batch",
    "process_before_every_sampling",
    "before_hr",
):
    setattr(ScriptRunner, _name, _calling(_name))


def _argument(control: Any) -> ScriptArg:
    facts = {name: getattr(control, name, None) for name in ARGUMENT_FACTS}
    choices = getattr(control, "choices", None)
    if choices is not None:  # gradio 3.41 on: pairs of label and value
        facts["choices"] = [choice[0] if isinstance(choice, tuple) else choice for choice in choices]
    given = {name: value for name, value in facts.items() if value is not None}
    return ScriptArg(label=control.label or "", **given)
