"""Checkpoints: found, matched by name or hash, loaded, and exchanged in the middle of a job (refiner, hires pass)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from modules import paths, script_callbacks, shared
from modules.diffusion import DemoDiffusion, stable_diffusion_alphas


class CheckpointInfo:
    """One file. ``title`` is what dropdowns show, ``short_title`` what infotexts say."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.name = os.path.basename(filename)
        self.name_for_extra = os.path.splitext(self.name)[0]
        self.model_name = self.name_for_extra
        with open(filename, "rb") as file:
            self.sha256 = hashlib.sha256(file.read()).hexdigest()
        self.shorthash = self.hash = self.sha256[:10]
        self.title = f"{self.name} [{self.shorthash}]"
        self.short_title = f"{self.name_for_extra} [{self.shorthash}]"
        with safe_open(filename, "pt") as file:
            self.metadata = file.metadata() or {}
        self.ids = [self.name, self.name_for_extra, self.title, self.short_title, self.shorthash, self.sha256]


checkpoints_list: dict[str, CheckpointInfo] = {}
"""By title."""
checkpoint_aliases: dict[str, CheckpointInfo] = {}
"""By every name and hash."""
_kept: dict[str, DemoDiffusion] = {}
"""Loaded models by title, the oldest first."""
_unsaved_choice: list[bool] = []


def list_models() -> None:
    """Looks for checkpoints."""
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    for name in sorted(os.listdir(paths.models_path)):
        if name.endswith(".safetensors"):
            info = CheckpointInfo(os.path.join(paths.models_path, name))
            checkpoints_list[info.title] = info
            checkpoint_aliases.update({alias: info for alias in info.ids})


def checkpoint_tiles() -> list[str]:
    """Titles for dropdowns (the misspelling is the host's)."""
    return list(checkpoints_list)


def get_closet_checkpoint_match(search: str | None) -> CheckpointInfo | None:
    """The checkpoint of a name, title or hash, else one whose title contains the text (the misspelling is the host's)."""
    if not search:
        return None
    if search in checkpoint_aliases:
        return checkpoint_aliases[search]
    return next((info for title, info in checkpoints_list.items() if search.split(" [")[0] in title), None)


def select_checkpoint() -> CheckpointInfo:
    """The one that the settings choose, else the first."""
    chosen = checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
    if chosen is not None:
        return chosen
    if not checkpoints_list:
        raise FileNotFoundError(f"no checkpoint in {paths.models_path}")
    return next(iter(checkpoints_list.values()))


@contextmanager
def SkipWritingToConfig() -> Iterator[None]:
    """A model that is loaded in here does not become the one of the settings."""
    _unsaved_choice.append(True)
    try:
        yield
    finally:
        _unsaved_choice.pop()


def _config(info: CheckpointInfo) -> dict[str, Any]:
    return json.loads(info.metadata["sdfm_demo"])


def _layout(config: dict[str, Any]) -> list[Any]:
    """Return all that two checkpoints must share to take turns in the same modules."""
    return [config.get(part) for part in ("unet", "text", "coding")]


def _fill(model: DemoDiffusion, info: CheckpointInfo) -> None:
    """Loads weights into the modules that are there: hooks on them survive, tables are the pristine ones again."""
    weights = {name: value.float() for name, value in load_file(info.filename).items()}
    for part in ("model", "cond_stage_model", "first_stage_model"):
        own = {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}
        getattr(model, part).load_state_dict(own)
    # A1111 makes it after loading too; a fresh encoder's would be another's
    model.cond_stage_model_empty_prompt = model.cond_stage_model([""])
    model.parameterization = _config(info).get("parameterization", "eps")
    model.alphas_cumprod = stable_diffusion_alphas()
    # A1111 takes its copy of the table after loading: whatever stands there becomes the original
    model.alphas_cumprod_original = model.alphas_cumprod
    model.sd_checkpoint_info = info
    model.sd_model_hash = info.shorthash
    model.sd_model_checkpoint = info.filename


def _modules_for(info: CheckpointInfo) -> DemoDiffusion:
    """New modules, or with a limit of one the old ones of the same shape."""
    reusable = shared.sd_model
    if shared.opts.sd_checkpoints_limit > 1 or reusable is None or _layout(reusable.config) != _layout(_config(info)):
        return DemoDiffusion(_config(info)).eval().requires_grad_(False)
    return reusable


@torch.no_grad()
def load_model(info: CheckpointInfo) -> DemoDiffusion:
    """Makes a checkpoint the current one. Tells ``on_model_loaded`` unless it was in memory already."""
    if info.title in _kept and _kept[info.title].sd_checkpoint_info is info:
        shared.sd_model = _kept[info.title]
        return shared.sd_model
    model = _modules_for(info)
    for title in [title for title, kept in _kept.items() if kept is model]:
        del _kept[title]
    _fill(model, info)
    _kept[info.title] = model
    while len(_kept) > max(shared.opts.sd_checkpoints_limit, 1):
        del _kept[next(iter(_kept))]
    shared.sd_model = model
    script_callbacks.model_loaded_callback(model)
    return model


def reload_model_weights(info: CheckpointInfo | None = None) -> DemoDiffusion:
    """The checkpoint that is asked for, or the one of the settings; nothing happens if it is the current one."""
    wanted = info or select_checkpoint()
    if shared.sd_model is not None and shared.sd_model.sd_checkpoint_info is wanted:
        return shared.sd_model
    model = load_model(wanted)
    if info is not None and not _unsaved_choice:
        shared.opts.data["sd_model_checkpoint"] = wanted.title
    return model


def forget_models() -> None:
    """Unloads all; for tests."""
    _kept.clear()
    shared.sd_model = None
