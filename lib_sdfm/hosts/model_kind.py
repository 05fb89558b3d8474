"""Flow models: shown to a WebUI as noise-predicting ones with a noise table of their own.

It outlives a run, as other extensions' generations need it too, and belongs to a checkpoint and a shift. It is kept on
the host's model itself. Whatever a host shows of the model to its samplers is k-diffusion's or DDPM's latent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..ops.flow import sigma_to_time

FLOW_MODEL = "sdfm_flow_edge"
"""Attribute of the host's model that holds what makes it a flow model."""
LATENT = (4, 64, 64)
"""Channels, height and width of the latents with which a model is asked for its kind."""
UNET_TIMES = 1000
"""A flow UNet is given 1000 t."""


class FlowModel(Protocol):
    """Makes a host's model a flow model. Attached when made, until :meth:`detach`.

    :param checkpoint: name of the checkpoint whose weights it belongs to
    :param shift: its shift
    """

    checkpoint: str
    shift: float

    def assert_in_place(self) -> None:
        """Puts back what the host itself has overwritten since."""

    def detach(self) -> None:
        """Puts everything back; harmless when called again."""


NewFlowModel = Callable[[Any, str, float], FlowModel]


def flow_model_of(model: Any) -> FlowModel | None:
    """Return what makes a model a flow model, ``None`` if nothing does."""
    return getattr(model, FLOW_MODEL, None)


def unet_time(sigma: float) -> float:
    """What a flow UNet is given as time at a noise level: 0 to 1000, whatever the shift."""
    return UNET_TIMES * sigma_to_time(sigma)


def set_flow_model(model: Any, checkpoint: str, shift: float | None, new_flow_model: NewFlowModel) -> None:
    """Makes a model a flow model of this shift, or with ``None`` what it is by itself.

    :param checkpoint: the checkpoint whose weights the model has
    :raises UnsupportedError: if it can't be a flow model; then it stays what it is by itself
    """
    flow_model = flow_model_of(model)
    if flow_model is not None and (flow_model.checkpoint, flow_model.shift) == (checkpoint, shift):
        flow_model.assert_in_place()
        return
    drop_flow_model(model)
    if shift is not None:
        vars(model)[FLOW_MODEL] = new_flow_model(model, checkpoint, shift)


def drop_flow_model(model: Any) -> None:
    """Makes a model what it is by itself."""
    flow_model = flow_model_of(model)
    if flow_model is not None:
        del vars(model)[FLOW_MODEL]
        flow_model.detach()
