"""Generation parameters: parsed, pasted into the controls of a tab, sent from one tab to the other."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from modules import errors, infotext_versions, paths, prompt_parser, script_callbacks, shared
from modules.infotext_quoting import quote, unquote

__all__ = ["PasteField", "ParamBinding", "parse_generation_parameters", "quote", "unquote"]
sys.modules["modules.generation_parameters_copypaste"] = sys.modules[__name__]  # its old name

PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
SIZE = re.compile(r"^(\d+)x(\d+)$")
NEGATIVE = "Negative prompt:"
ENOUGH_PAIRS = 3
type_of_gr_update = type(gr.update())
DEFAULTS = {
    "Clip skip": "1", "Hires resize-1": 0, "Hires resize-2": 0, "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler", "Hires checkpoint": "Use same checkpoint", "Hires prompt": "",
    "Hires negative prompt": "", "Mask mode": "Inpaint masked", "Masked content": "original",
    "Inpaint area": "Whole picture", "Masked area padding": 32, "RNG": "GPU", "Schedule type": "Automatic",
    "Schedule max sigma": 0, "Schedule min sigma": 0, "Schedule rho": 0, "VAE Encoder": "Full", "VAE Decoder": "Full",
    "FP8 weight": "Disable", "Refiner switch by sampling steps": False,
}  # fmt: skip
"""Values of missing keys."""


class PasteField(tuple):
    """A control and what it takes: a key, or a function of all parameters.

    :param api: name of the field of an API request that stands for the control
    """

    def __new__(cls, component: Any, target: Any, *, api: str | None = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: Any, *, api: str | None = None) -> None:
        self.component, self.api = component, api
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


@dataclass
class ParamBinding:
    """A button that pastes or sends to a tab: from a text, or from the controls of another tab."""

    paste_button: Any
    tabname: str
    source_text_component: Any = None
    source_tabname: str | None = None
    paste_field_names: list[Any] = field(default_factory=list)


paste_fields: dict[str, dict[str, Any]] = {}
registered_param_bindings: list[ParamBinding] = []


def reset() -> None:
    """Before the panel is built again."""
    paste_fields.clear()
    registered_param_bindings.clear()


def add_paste_fields(tabname: str, init_img: Any, fields: list[Any], override_settings_component: Any = None) -> None:
    fields[:] = [field if isinstance(field, PasteField) else PasteField(*field) for field in fields]
    paste_fields[tabname] = {
        "init_img": init_img,
        "fields": fields,
        "override_settings_component": override_settings_component,
    }


def register_paste_params_button(binding: ParamBinding) -> None:
    registered_param_bindings.append(binding)


def connect_paste_params_buttons() -> None:
    """Once all tabs are built."""
    for binding in registered_param_bindings:
        destination = paste_fields[binding.tabname]
        if binding.source_text_component is not None:
            override = destination["override_settings_component"]
            connect_paste(binding.paste_button, destination["fields"], binding.source_text_component, override, binding.tabname)
        if binding.source_tabname is not None:
            _connect_tabs(binding, paste_fields[binding.source_tabname]["fields"], destination["fields"])


def _connect_tabs(binding: ParamBinding, source: list[PasteField], destination: list[PasteField]) -> None:
    """Controls of both tabs with the same target (label or function object) are paired in their order."""
    names = ["Prompt", "Negative prompt", "Steps", *(["Seed"] if shared.opts.send_seed else []), *binding.paste_field_names]
    given = [field for field, target in source if target in names]
    taken = [field for field, target in destination if target in names]
    binding.paste_button.click(
        fn=lambda *values: values if len(values) > 1 else values[0], inputs=given, outputs=taken, show_progress="hidden"
    )


def parse_generation_parameters(x: str, skip_fields: Iterable[str] | None = None) -> dict[str, Any]:
    """The parameters of a text. Its last line holds them if it has at least three, all before is prompt."""
    *lines, last = x.strip().split("\n")
    pairs = PAIR.findall(last)
    if len(pairs) < ENOUGH_PAIRS:
        lines, pairs = [*lines, last], []
    prompts: tuple[list[str], list[str]] = ([], [])
    which = 0
    for line in map(str.strip, lines):
        if line.startswith(NEGATIVE):
            which, line = 1, line[len(NEGATIVE) :].strip()
        if line or prompts[which]:
            prompts[which].append(line)
    params: dict[str, Any] = {}
    for key, value in pairs:
        params.update(_pair(key, value))
    params["Prompt"], params["Negative prompt"] = ("\n".join(lines) for lines in prompts)
    for key, default in DEFAULTS.items():
        params.setdefault(key, default)
    if _uses_emphasis(params["Prompt"]) or _uses_emphasis(params["Negative prompt"]):
        params.setdefault("Emphasis", "Original")
    infotext_versions.backcompat(params)
    for key in shared.opts.infotext_skip_pasting if skip_fields is None else skip_fields:
        params.pop(key, None)
    return params


def _pair(key: str, value: str) -> dict[str, Any]:
    """A size gives two keys; a value that is missing is said and left out."""
    if not value:
        print(f'Error parsing "{key}: "')
        return {}
    value = unquote(value)
    size = SIZE.match(value) if isinstance(value, str) else None
    return {key: value} if size is None else {f"{key}-1": size[1], f"{key}-2": size[2]}


def _uses_emphasis(text: str) -> bool:
    return any(weight != 1.0 and piece != "BREAK" for piece, weight in prompt_parser.parse_prompt_attention(text))


infotext_to_setting_name_mapping: list[tuple[str, str]] = []
"""Further keys that are settings; extensions add to it."""


def _settings_by_key() -> list[tuple[str, str]]:
    of_options = [(info.infotext, name) for name, info in shared.opts.data_labels.items() if info.infotext]
    return of_options + infotext_to_setting_name_mapping


def get_override_settings(params: Mapping[str, Any], *, skip_fields: Iterable[Any] | None = None) -> list[tuple[str, str, Any]]:
    """(key, setting, value) of each parameter that is a setting and has another value than now."""
    skipped = set(skip_fields or ())
    found = []
    for key, name in _settings_by_key():
        if key in skipped or params.get(key) is None:
            continue
        if name == "sd_model_checkpoint" and shared.opts.disable_weights_auto_swap:
            continue
        value = shared.opts.cast_value(name, params[key])
        if value != getattr(shared.opts, name, None):
            found.append((key, name, value))
    return found


def create_override_settings_dict(text_pairs: Iterable[str]) -> dict[str, Any]:
    """Settings from the ``key: value`` lines of the panel."""
    given = dict(pair.split(":", 1) for pair in text_pairs or ())
    return {name: shared.opts.cast_value(name, given[key].strip()) for key, name in _settings_by_key() if key in given}


def _pasted(component: Any, target: Any, params: Mapping[str, Any]) -> Any:
    """The update of one control: values are cast to the type of the one it was made with, what fails changes nothing."""
    if callable(target):
        try:
            value = target(params)
        except Exception:
            errors.report(f"Error executing {target}", exc_info=True)
            value = None
    else:
        value = params.get(target)
    if value is None:
        return gr.update()
    if isinstance(value, type_of_gr_update):
        return value
    kind = type(getattr(component, "value", None))
    try:
        if kind is bool and value == "False":
            return gr.update(value=False)
        return gr.update(value=float(value) if kind is int else kind(value))
    except Exception:
        return gr.update()


def _last_prompt() -> str:
    """Return the last job's parameters: pasting an empty box restores them."""
    path = os.path.join(paths.data_path, "params.txt")
    if shared.cmd_opts.no_prompt_history or not os.path.isfile(path):
        return ""
    with open(path, encoding="utf8") as file:
        return file.read()


def paste_function(fields: list[Any]) -> Callable[[str], list[Any]]:
    """Text in, one update per field out."""

    def paste(text: str) -> list[Any]:
        text = text or _last_prompt()
        params = parse_generation_parameters(text)
        script_callbacks.infotext_pasted_callback(text, params)
        return [_pasted(component, target, params) for component, target in fields]

    return paste


def connect_paste(button: Any, fields: list[Any], input_comp: Any, override_settings_component: Any, tabname: str) -> None:
    if override_settings_component is not None:
        handled = [target for _, target in fields]

        def settings(params: Mapping[str, Any]) -> Any:
            pairs = [f"{key}: {value}" for key, _, value in get_override_settings(params, skip_fields=handled)]
            return gr.update(value=pairs, choices=pairs, visible=bool(pairs))

        fields = [*fields, (override_settings_component, settings)]
    outputs = [component for component, _ in fields]
    button.click(fn=paste_function(fields), inputs=[input_comp], outputs=outputs, show_progress="hidden")
