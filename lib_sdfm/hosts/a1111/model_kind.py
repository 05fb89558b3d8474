"""Use of A1111's model as a flow model, and detection of what the model predicts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ...errors import UnsupportedError
from ...ops.flow import preserving_to_flow, table_to_time, time_table, time_to_alpha_bar, velocity_to_noise
from ...ops.flow_probe import Recognition, recognise
from ...ops.precision import widest_float
from ..attributes import InstanceAttribute, undone_on_failure
from ..model_kind import LATENT, UNET_TIMES, flow_model_of

TABLES = ("alphas_cumprod", "alphas_cumprod_original")


class A1111FlowModel:
    """Flow adapter for A1111's ``sd_model``: replaces its noise tables, ``apply_model`` and ``parameterization``.

    ``apply_model`` takes DDPM's latent and an index into the table, and returns noise; the UNet behind it takes ``x_t`` and
    1000 t, and returns the velocity. The conversion is computed in float32.
    """

    def __init__(self, model: Any, checkpoint: str, shift: float) -> None:
        require_flow_possible(model)
        self.checkpoint, self.shift = checkpoint, shift
        self._model, self._times = model, time_table(shift)
        self._pristine = {name: getattr(model, name).detach().clone() for name in TABLES if hasattr(model, name)}
        self._dtype = widest_float(model.alphas_cumprod.device)
        self.predict = model.apply_model
        self._attributes = [
            InstanceAttribute(model, "apply_model", self._apply_model),
            InstanceAttribute(model, "parameterization", "eps"),
        ]
        with undone_on_failure(self.detach):
            self.assert_in_place()

    def assert_in_place(self) -> None:
        """Restore the flow tables: the host copies one table to the other before each picture, and its options rewrite it."""
        for name in self._pristine:
            setattr(self._model, name, self._table())

    def detach(self) -> None:
        """Restore the checkpoint's own tables, unless the host has replaced them since (weights loaded in place)."""
        for attribute in self._attributes:
            attribute.restore()
        present = {name: getattr(self._model, name) for name in self._pristine}
        left_behind = any(self._is_ours(table) for table in present.values())
        for name, table in self._pristine.items():
            kept = table if left_behind else present[name].to(table.dtype)
            setattr(self._model, name, kept.to(present[name].device))
        self._pristine = {}

    def _table(self) -> Tensor:
        return time_to_alpha_bar(self._times).to(self._dtype).to(self._pristine[TABLES[0]].device)

    def _is_ours(self, table: Tensor) -> bool:
        ours = time_to_alpha_bar(self._times).to(table.dtype)
        return table.shape == ours.shape and torch.equal(table.detach().cpu(), ours)

    def _apply_model(self, x: Tensor, index: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Replace the model's method of this name: return the noise in ``x``, for table indices ``(rows,)``."""
        table = self._model.alphas_cumprod
        if table.dtype != self._dtype or not self._is_ours(table):
            raise UnsupportedError(
                "Flow matching: the WebUI's noise table was changed while the checkpoint counts as a flow model. Set its "
                "options “Noise schedule for sampling” to Default and “Downcast alphas_cumprod” off"
            )
        t = table_to_time(index.detach().cpu(), self._times).to(dtype=torch.float32, device=x.device)
        per_image = t.view(-1, 1, 1, 1)
        latent = preserving_to_flow(x.float(), per_image)
        velocity = self.predict(latent.to(x.dtype), t * UNET_TIMES, *args, **kwargs)
        return velocity_to_noise(velocity.float(), latent, per_image)


def require_flow_possible(model: Any) -> None:
    """Raise :class:`UnsupportedError` if A1111's model can't be used as a flow model."""
    conditioning = getattr(getattr(model, "model", None), "conditioning_key", "crossattn")
    if getattr(model, "is_sd3", False):
        raise UnsupportedError("Flow matching: SD3 is a flow model that the WebUI knows by itself. Set the mode to Off")
    if getattr(model, "is_sdxl_inpaint", False) or conditioning in ("hybrid", "concat"):
        raise UnsupportedError(
            "Flow matching: this is an inpainting checkpoint, whose UNet also gets mask and picture. Choose another "
            "checkpoint, or set the mode to Off"
        )
    if getattr(model, "cond_stage_key", None) == "edit" or conditioning not in (None, "crossattn", "adm"):
        raise UnsupportedError("Flow matching: this checkpoint is made for another kind of conditioning. Set the mode to Off")
    if not hasattr(model, TABLES[0]) or len(getattr(model, TABLES[0])) != len(time_table(1.0)):
        raise UnsupportedError("Flow matching: this model has no noise table of 1000 entries. Set the mode to Off")


@torch.no_grad()
def ask_a1111(model: Any, device: torch.device | str = "cpu", autocast: AbstractContextManager | None = None) -> Recognition:
    """Return what A1111's model predicts.

    :param device: device on which the host samples; an idle model's weights may be elsewhere (``--medvram``)
    :param autocast: context in which the host calls the model
    """
    flow_model = flow_model_of(model)
    apply = flow_model.predict if isinstance(flow_model, A1111FlowModel) else model.apply_model
    with autocast or nullcontext():
        cond = model.get_learned_conditioning([""])

        def predict(x: Tensor, times: Tensor) -> Tensor:
            return apply(x, times, _cond_of(cond, len(x), x))

        return recognise(predict, LATENT, device=device)


def _cond_of(cond: Any, rows: int, x: Tensor) -> dict[str, Any]:
    """Return A1111's conditioning of a model call, one row per latent."""
    repeat = {key: value.expand(rows, *value.shape[1:]) for key, value in cond.items()} if isinstance(cond, dict) else None
    no_picture = {"c_concat": [x.new_zeros(rows, 5, 1, 1)]}
    return {**(repeat or {"c_crossattn": [cond.expand(rows, *cond.shape[1:])]}), **no_picture}
