"""Stand-ins for the host's ``modules``, as far as scripts see them; with either gradio."""

from __future__ import annotations

import functools
import importlib.util
import sys
import types
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import gradio as gr

from lib_sdfm.schema.host_names import HOST_SCHEDULES

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def input_accordion(value: bool, label: str, elem_id: str) -> Iterator[gr.Checkbox]:
    """The host's accordion that is a switch: the checkbox is its value."""
    switch = gr.Checkbox(value, label=label, elem_id=f"{elem_id}-checkbox", visible=False)
    with gr.Accordion(label, open=value, elem_id=elem_id):
        yield switch


class Script:
    """The host's base class of scripts."""

    args_from = args_to = 0
    infotext_fields = paste_field_names = None
    is_img2img = False

    def elem_id(self, name: str) -> str:
        tab = "img2img" if self.is_img2img else "txt2img"
        return f"script_{tab}_{''.join(filter(str.isalnum, self.title().lower()))}_{name}"

    def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
        pass


class CFGDenoiserParams:
    """The host's description of a denoiser call."""

    def __init__(self, x: Any, denoiser: Any = None) -> None:
        self.x, self.denoiser = x, denoiser


class OptionInfo:
    """The host's description of a setting."""

    def __init__(self, default: Any, label: str, section: tuple[str, str]) -> None:
        self.default, self.label, self.section, self.reloads = default, label, section, False

    def needs_reload_ui(self) -> OptionInfo:
        self.reloads = True
        return self


class PasteField(tuple):
    """The host's pair of a control and what pasting gives it."""

    def __new__(cls, component: Any, target: Any, *, api: str | None = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: Any, *, api: str | None = None) -> None:
        self.component, self.api = component, api
        self.label = target if isinstance(target, str) else None


class SamplerData(namedtuple("SamplerData", ["name", "constructor", "aliases", "options"])):
    """The host's entry of a sampler."""


class FakeSampler:
    """A sampler of either kind, around a function."""

    def __init__(self, func: Callable, sd_model: Any) -> None:
        self.func, self.sd_model, self.extra_params = func, sd_model, []


class FakeSamplers:
    """The host's ``sd_samplers``."""

    def __init__(self) -> None:
        self.all_samplers = [SamplerData("Euler", lambda model: None, ["k_euler"], {})]
        self.all_samplers_map = {entry.name: entry for entry in self.all_samplers}
        self.samplers_map: dict[str, str] = {}

        @functools.cache
        def get_sampler_and_scheduler(name: str, scheduler: str) -> tuple[str, str]:
            return self.all_samplers_map.get(name, self.all_samplers[0]).name, scheduler

        self.get_sampler_and_scheduler = get_sampler_and_scheduler

    def set_samplers(self) -> None:
        self.samplers_map = {alias.lower(): e.name for e in self.all_samplers for alias in (e.name, *e.aliases)}


class FakeModules:
    """The modules that ``scripts/sdfm.py`` imports, and what it registers with them."""

    def __init__(self, folder: Path) -> None:
        names = (
            "cfg_denoiser", "before_ui", "ui_settings", "app_started", "infotext_pasted", "after_component", "model_loaded",
        )  # fmt: skip
        self.callbacks: dict[str, list[Callable]] = {name: [] for name in names}
        self.runner = types.SimpleNamespace(scripts=[], alwayson_scripts=[])
        self.scripts = types.SimpleNamespace(
            Script=Script, AlwaysVisible=object(), scripts_data=[], basedir=lambda: str(folder), scripts_txt2img=self.runner,
            scripts_img2img=self.runner,
        )  # fmt: skip
        self.script_callbacks = types.SimpleNamespace(
            CFGDenoiserParams=CFGDenoiserParams,
            **{f"on_{name}": registered.append for name, registered in self.callbacks.items()},
        )
        opts = types.SimpleNamespace(use_old_scheduling=False, rho=0, beta_dist_alpha=0.6, beta_dist_beta=0.6)
        self.shared = types.SimpleNamespace(
            cmd_opts=types.SimpleNamespace(api_auth=None),
            sd_model=None,
            opts=opts,
            state=types.SimpleNamespace(interrupted=False),
        )
        self.options = types.SimpleNamespace(OptionInfo=OptionInfo)
        self.ui_components = types.SimpleNamespace(InputAccordion=input_accordion)
        self.processing = types.SimpleNamespace(StableDiffusionProcessingTxt2Img=type("Txt2Img", (), {}))
        self.prompt_parser = types.SimpleNamespace(get_learned_conditioning=None)
        self.sd_models = types.SimpleNamespace()
        self.sd_schedulers = types.SimpleNamespace(schedulers_map=dict.fromkeys(HOST_SCHEDULES))
        self.call_queue, self.devices = types.SimpleNamespace(queue_lock=nullcontext()), types.SimpleNamespace()
        self.sd_samplers = FakeSamplers()
        self.sd_samplers_common = types.SimpleNamespace(SamplerData=SamplerData)
        self.sd_samplers_kdiffusion = types.SimpleNamespace(KDiffusionSampler=FakeSampler)
        self.sd_samplers_timesteps = types.SimpleNamespace(CompVisSampler=FakeSampler)
        self.infotext_utils = types.SimpleNamespace(PasteField=PasteField, paste_fields={})

    def run_script(self) -> types.ModuleType:
        """Executes ``scripts/sdfm.py`` as the host does, each time anew."""
        package = types.ModuleType("modules")
        names = [name for name in vars(self) if name not in ("callbacks", "runner")]
        package.__dict__.update({name: getattr(self, name) for name in names})
        ours = {"modules": package, **{f"modules.{name}": getattr(self, name) for name in names}}
        ours |= {"k_diffusion": types.SimpleNamespace(sampling=types.SimpleNamespace(), external=types.SimpleNamespace())}
        before = {name: sys.modules.get(name) for name in ours}
        sys.modules.update(ours)
        try:
            spec = importlib.util.spec_from_file_location("sdfm.py", ROOT / "scripts" / "sdfm.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        finally:
            for name, value in before.items():
                sys.modules.pop(name) if value is None else sys.modules.update({name: value})

    def script_classes(self) -> dict[str, type]:
        """The script classes among the names of the executed file."""
        names = vars(self.run_script())
        return {n: v for n, v in names.items() if isinstance(v, type) and issubclass(v, Script) and v is not Script}
