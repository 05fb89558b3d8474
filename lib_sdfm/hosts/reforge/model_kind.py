"""reForge's model sampled as one of another kind: by its ``model_sampling``, and by the noise table of its samplers.

``model_sampling`` converts between k-diffusion's latents and the UNet's; A1111's samplers and schedules read the table
``alphas_cumprod`` of the same model. An adapter changes both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...ops.flow import time_table, time_to_alpha_bar
from ...ops.v_prediction import has_zero_terminal_snr, with_zero_terminal_snr
from ...sampling.model_kind import FLOW, NOISE, ModelKind, V
from ..a1111.model_kind import TABLES, ReplacedTables
from ..attributes import undo_all, undone_on_failure
from ..forge.model_kind import INPAINTING_CHANNELS, FlowPredictor
from ..model_kind import INPAINTING, KindAdapter, no_flow, no_v

OTHER = "another kind"
KINDS = {"CONST": FLOW, "COSMOS_RFLOW": OTHER, "EDM": OTHER, "X0": OTHER, "V_PREDICTION": V}
"""Kind by ComfyUI's class of prediction; the first class of a ``model_sampling`` that is among them counts."""
PREDICTIONS = {NOISE: "EPS", V: "V_PREDICTION"}
DISCRETE = "ModelSamplingDiscrete"
SAMPLING = "model_sampling"
"""Name of the object by which Advanced Model Sampling samples a model as another kind."""


@dataclass(frozen=True)
class ReforgeAdapters:
    """Factory of adapters.

    :param classes: ComfyUI's module ``model_sampling``
    """

    classes: Any

    def __call__(self, model: Any, checkpoint: str, kind: ModelKind) -> KindAdapter:
        return (self._flow if kind.is_flow else self._other)(model, checkpoint, kind)

    def _flow(self, model: Any, checkpoint: str, kind: ModelKind) -> KindAdapter:
        require_flow_possible(model)
        times = time_table(kind.shift)
        table = time_to_alpha_bar(times).float()
        predictor = FlowPredictor(kind.shift, sampling_of(model).sigmas.device)

        def is_ours(found: Tensor) -> bool:
            return found.shape == table.shape and torch.equal(found.detach().cpu(), table.to(found.dtype))

        return ReforgeAdapter(model, checkpoint, kind, predictor, ReplacedTables(model, table, TABLES, is_ours))

    def _other(self, model: Any, checkpoint: str, kind: ModelKind) -> KindAdapter:
        require_v_possible(model)
        own = sampling_of(model)
        made = type("ModelSampling", (getattr(self.classes, DISCRETE), getattr(self.classes, PREDICTIONS[kind.name])), {})()
        made.set_sigmas(own.sigmas.detach().clone())
        made = made.to(own.sigmas.device)
        tables = None
        if kind.zero_terminal_snr and not kind.host_rescales:
            table = with_zero_terminal_snr(model.alphas_cumprod.float())
            made.set_sigmas((((1 - table) / table) ** 0.5).to(own.sigmas.device))
            tables = ReplacedTables(model, table, TABLES, has_zero_terminal_snr)
        return ReforgeAdapter(model, checkpoint, kind, made, tables)


class ReforgeAdapter:
    """Adapter of reForge's model: another ``model_sampling`` and, for other noise levels, another ``alphas_cumprod``.

    :param instead: the ``model_sampling``
    :param tables: the tables, ``None`` for the model's own
    """

    def __init__(self, model: Any, checkpoint: str, kind: ModelKind, instead: Any, tables: ReplacedTables | None) -> None:
        self.checkpoint, self.kind, self.host_kind = checkpoint, kind, host_kind(model)
        self._kmodel, self._own = model.forge_objects.unet.model, sampling_of(model)
        self._instead, self._tables = instead, tables
        with undone_on_failure(self.detach):
            self.assert_in_place()

    def assert_in_place(self) -> None:
        """Set again what the host has overwritten since."""
        if self._own is not None:
            self._kmodel.model_sampling = self._instead
        if self._tables is not None:
            self._tables.set()

    def follow_loading(self) -> None:
        """Set our ``model_sampling`` again if loading the weights has restored the host's."""
        if self._own is not None and self._kmodel.model_sampling is not self._instead:
            self._kmodel.model_sampling = self._instead

    def detach(self) -> None:
        """Restore everything, but not over another ``model_sampling`` set since; may be called again."""
        tables, self._tables = self._tables, None
        undo_all(self._restore, *([] if tables is None else [tables.restore]))

    def _restore(self) -> None:
        if self._own is not None and self._kmodel.model_sampling is self._instead:
            self._kmodel.model_sampling = self._own
        self._own = None


def sampling_of(model: Any) -> Any:
    """Return the ``model_sampling`` of the host's model itself.

    That of Advanced Model Sampling stays in its place after a job, until the weights are loaded for the next one.
    """
    unet = model.forge_objects.unet
    return unet.object_patches_backup.get(SAMPLING, unet.model.model_sampling)


def host_kind(model: Any) -> str | None:
    """Return the name of the kind that the host takes a model for, ``None`` for an ordinary one (noise)."""
    return kind_of_sampling(sampling_of(model))


def kind_of_sampling(sampling: Any) -> str | None:
    """Return the name of the kind of a ``model_sampling``, ``None`` for an ordinary one (noise)."""
    names = (base.__name__ for base in type(sampling).__mro__)
    return next((KINDS[name] for name in names if name in KINDS), None)


def kept_table(model: Any) -> Callable[[], None]:
    """Return a function that restores the noise tables of now.

    The host rescales them around ``p.sample``, and restores them only if that raises nothing.
    """
    sampling, sigmas, table = sampling_of(model), sampling_of(model).sigmas, model.alphas_cumprod

    def restore() -> None:
        if sampling.sigmas is not sigmas and hasattr(sampling, "set_sigmas"):
            sampling.set_sigmas(sigmas)
        model.alphas_cumprod = table

    return restore


def require_v_possible(model: Any) -> None:
    """Raise :class:`UnsupportedError` if reForge's model can't be used as a v or a noise-predicting model."""
    kind = host_kind(model)
    if kind not in (None, V):
        what = "a flow model" if kind == FLOW else "a model of another kind"
        raise no_v(f"this is {what} that the WebUI recognises by itself")
    if len(getattr(sampling_of(model), "sigmas", ())) != len(getattr(model, TABLES[0], ())):
        raise no_v("this model has no noise table")


def require_flow_possible(model: Any) -> None:
    """Raise :class:`UnsupportedError` if reForge's model can't be used as a flow model."""
    unet = model.forge_objects.unet.model.diffusion_model
    if host_kind(model) not in (None, V):
        raise no_flow("this is a flow model that the WebUI recognises by itself")
    if len(getattr(model, TABLES[0], ())) != len(time_table(1.0)) or not hasattr(unet, "input_blocks"):
        raise no_flow("this is not a Stable Diffusion UNet with a noise table")
    if getattr(unet, "in_channels", None) == INPAINTING_CHANNELS:
        raise no_flow(INPAINTING)
