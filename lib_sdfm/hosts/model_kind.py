"""Flow models, presented to a WebUI as noise-predicting ones with their own noise table.

The adapter outlives a run, as other extensions' generations need it too, and belongs to a checkpoint and a shift. It is
stored on the host's model. The host's samplers always see k-diffusion's or DDPM's latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..ops.flow import sigma_to_time

FLOW_MODEL = "sdfm_flow_edge"
"""Attribute of the host's model that holds its flow adapter."""
LATENT = (4, 64, 64)
"""Channels, height and width of the latents with which a model's kind is detected."""
UNET_TIMES = 1000
"""Factor from t to the time input of a flow UNet, 1000 t."""


class FlowModel(Protocol):
    """Flow adapter of a host's model, attached from construction until :meth:`detach`.

    :param checkpoint: name of the checkpoint to whose weights it belongs
    :param shift: its shift
    """

    checkpoint: str
    shift: float

    def assert_in_place(self) -> None:
        """Set again what the host has overwritten since."""

    def detach(self) -> None:
        """Restore everything; may be called again."""


NewFlowModel = Callable[[Any, str, float], FlowModel]


def flow_model_of(model: Any) -> FlowModel | None:
    """Return the flow adapter of a model, ``None`` if it has none."""
    return getattr(model, FLOW_MODEL, None)


def unet_time(sigma: float) -> float:
    """Return a flow UNet's time input at a noise level: 0 to 1000, independent of the shift."""
    return UNET_TIMES * sigma_to_time(sigma)


def set_flow_model(model: Any, checkpoint: str, shift: float | None, new_flow_model: NewFlowModel) -> None:
    """Attach a flow adapter with this shift to a model, or with ``None`` remove it.

    :param checkpoint: the checkpoint whose weights the model has
    :raises UnsupportedError: if the model can't be used as a flow model; then it has no adapter
    """
    flow_model = flow_model_of(model)
    if flow_model is not None and (flow_model.checkpoint, flow_model.shift) == (checkpoint, shift):
        flow_model.assert_in_place()
        return
    drop_flow_model(model)
    if shift is not None:
        vars(model)[FLOW_MODEL] = new_flow_model(model, checkpoint, shift)


def drop_flow_model(model: Any) -> None:
    """Remove the flow adapter from a model."""
    flow_model = flow_model_of(model)
    if flow_model is not None:
        del vars(model)[FLOW_MODEL]
        flow_model.detach()
