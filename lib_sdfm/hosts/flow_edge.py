"""The edge: a flow model shown to a WebUI as a noise-predicting one with a noise table of its own.

It outlives a run, as other extensions' generations need it too, and belongs to a checkpoint and a shift. It is kept on
the host's model itself. Whatever a host shows of the model to its samplers is k-diffusion's or DDPM's latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import UnsupportedError
from ..ops.flow import preserving_to_flow, sigma_to_time, table_to_time, time_table, time_to_alpha_bar, velocity_to_noise
from .attributes import InstanceAttribute, undone_on_failure

EDGE = "sdfm_flow_edge"
"""Attribute of the host's model that holds its edge."""
UNET_TIMES = 1000
"""A flow UNet is given 1000 t."""
TABLES = ("alphas_cumprod", "alphas_cumprod_original")
NO_DOUBLES = ("mps", "xpu", "privateuseone")
"""Kinds of devices that have no float64."""


class Edge(Protocol):
    """An edge on a host's model. Attached when made, until :meth:`detach`.

    :param checkpoint: name of the checkpoint whose weights it belongs to
    :param shift: its shift
    """

    checkpoint: str
    shift: float

    def assert_in_place(self) -> None:
        """Puts back what the host itself has overwritten since."""

    def detach(self) -> None:
        """Puts everything back; harmless when called again."""


NewEdge = Callable[[Any, str, float], Edge]


def edge_of(model: Any) -> Edge | None:
    """The edge that a model has, if any."""
    return getattr(model, EDGE, None)


def unet_time(sigma: float) -> float:
    """What a flow UNet is given as time at a noise level: 0 to 1000, whatever the shift."""
    return UNET_TIMES * sigma_to_time(sigma)


def set_edge(model: Any, checkpoint: str, shift: float | None, new_edge: NewEdge) -> None:
    """Makes a model a flow model of this shift, or with ``None`` what it is by itself.

    :param checkpoint: the checkpoint whose weights the model has
    :raises UnsupportedError: if it can't be a flow model; then it stays what it is by itself
    """
    edge = edge_of(model)
    if edge is not None and (edge.checkpoint, edge.shift) == (checkpoint, shift):
        edge.assert_in_place()
        return
    drop_edge(model)
    if shift is not None:
        vars(model)[EDGE] = new_edge(model, checkpoint, shift)


def drop_edge(model: Any) -> None:
    """Makes a model what it is by itself."""
    edge = edge_of(model)
    if edge is not None:
        del vars(model)[EDGE]
        edge.detach()


class A1111Edge:
    """The edge of A1111's ``sd_model``: its noise tables, ``apply_model`` and ``parameterization``.

    ``apply_model`` gets DDPM's latent and a place in the table, and gives noise; the UNet behind it gets ``x_t`` and 1000 t,
    and gives the velocity. Between them it is computed in float32.
    """

    def __init__(self, model: Any, checkpoint: str, shift: float) -> None:
        require_flow_possible(model)
        self.checkpoint, self.shift = checkpoint, shift
        self._model, self._times = model, time_table(shift)
        self._pristine = {name: getattr(model, name).detach().clone() for name in TABLES if hasattr(model, name)}
        self._dtype = torch.float32 if model.alphas_cumprod.device.type in NO_DOUBLES else torch.float64
        self.predict = model.apply_model
        self._attributes = [
            InstanceAttribute(model, "apply_model", self._apply_model),
            InstanceAttribute(model, "parameterization", "eps"),
        ]
        with undone_on_failure(self.detach):
            self.assert_in_place()

    def assert_in_place(self) -> None:
        """The host copies one table to the other before each picture, and its options rewrite it."""
        for name in self._pristine:
            setattr(self._model, name, self._table())

    def detach(self) -> None:
        """Puts the checkpoint's own tables back, unless the host has put others there (weights loaded in place)."""
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
        """Stands in for the model's method of this name: the noise in ``x``, for places in the table ``(rows,)``."""
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
    """Raises :class:`UnsupportedError` if A1111's model can't be a flow model behind the edge."""
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
