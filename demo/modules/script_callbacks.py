"""Callbacks for extensions. Errors in them are reported and swallowed, as A1111 does; generation goes on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modules import errors


@dataclass
class ScriptCallback:
    script: str
    callback: Callable[..., Any]


@dataclass
class CFGDenoiserParams:
    """Before the UNet is called: the rows of all prompts first, of the negative prompts last."""

    x: Any
    image_cond: Any
    sigma: Any
    sampling_step: int
    total_sampling_steps: int
    text_cond: Any
    text_uncond: Any
    denoiser: Any = None


@dataclass
class CFGDenoisedParams:
    """After the UNet was called, before prompts and negative prompts are combined."""

    x: Any
    sampling_step: int
    total_sampling_steps: int
    inner_model: Any


@dataclass
class AfterCFGCallbackParams:
    x: Any
    sampling_step: int
    total_sampling_steps: int


CATEGORIES = (
    "app_started", "model_loaded", "ui_settings", "cfg_denoiser", "cfg_denoised", "cfg_after_cfg", "after_component",
    "infotext_pasted", "before_ui",
)  # fmt: skip
callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{name}": [] for name in CATEGORIES}


def clear_callbacks() -> None:
    """Done before scripts are loaded again."""
    for callbacks in callback_map.values():
        callbacks.clear()


def ordered_callbacks(category: str) -> list[ScriptCallback]:
    """Return a category's callbacks as they will be called; the demo has no order of the user's."""
    return list(callback_map[f"callbacks_{category}"])


def _registration(category: str) -> Callable[..., None]:
    def register(callback: Callable[..., Any], *, name: str | None = None) -> None:
        filename = inspect.stack()[1].filename
        callback_map[f"callbacks_{category}"].append(ScriptCallback(filename, callback))

    register.__name__ = f"on_{category}"
    return register


def _calling(category: str) -> Callable[..., list[Any]]:
    def call(*args: Any, **kwargs: Any) -> list[Any]:
        results = []
        for item in ordered_callbacks(category):
            try:
                results.append(item.callback(*args, **kwargs))
            except Exception:
                errors.report(f"Error executing callback {category} for {item.script}", exc_info=True)
        return results

    call.__name__ = f"{category}_callback"
    return call


on_app_started, app_started_callback = _registration("app_started"), _calling("app_started")
on_model_loaded, model_loaded_callback = _registration("model_loaded"), _calling("model_loaded")
on_ui_settings, ui_settings_callback = _registration("ui_settings"), _calling("ui_settings")
on_cfg_denoiser, cfg_denoiser_callback = _registration("cfg_denoiser"), _calling("cfg_denoiser")
on_cfg_denoised, cfg_denoised_callback = _registration("cfg_denoised"), _calling("cfg_denoised")
on_cfg_after_cfg, cfg_after_cfg_callback = _registration("cfg_after_cfg"), _calling("cfg_after_cfg")
on_after_component, after_component_callback = _registration("after_component"), _calling("after_component")
on_infotext_pasted, infotext_pasted_callback = _registration("infotext_pasted"), _calling("infotext_pasted")
on_before_ui, before_ui_callback = _registration("before_ui"), _calling("before_ui")


def remove_callbacks_for_function(callback: Callable[..., Any]) -> None:
    for callbacks in callback_map.values():
        callbacks[:] = [item for item in callbacks if item.callback != callback]
