"""Checkpoints of another kind than the WebUI takes them for: v and flow models, presented to it as noise-predicting ones.

The adapter outlives a run, as other extensions' generations need it too, and belongs to a checkpoint and a kind. It is
stored on the host's model. The host's samplers always see k-diffusion's or DDPM's latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy
from torch import Tensor

from ..errors import UnsupportedError
from ..ops.flow import sigma_to_time
from ..sampling.model_kind import ModelKind

ADAPTER = "sdfm_model_kind"
"""Attribute of the host's model that holds its adapter."""
UNET_TIMES = 1000
"""Factor from t to the time input of a flow UNet, 1000 t."""
INPAINTING = "this is an inpainting checkpoint, whose UNet also takes a mask and a picture"
"""Reason for :func:`no_flow`."""


def no_flow(why: str) -> UnsupportedError:
    """Return the error about a checkpoint that can't be sampled as a flow model."""
    return UnsupportedError(
        f"Flow matching: {why}. Choose another checkpoint, or turn this off: set the mode of flow matching to Off, or the "
        "model kind to Automatic"
    )


def no_v(why: str) -> UnsupportedError:
    """Return the error about a checkpoint that can't be sampled as a v or a noise-predicting model."""
    return UnsupportedError(f"Model kind: {why}. Set the model kind to Automatic")


class KindAdapter(Protocol):
    """Adapter of a host's model, attached from construction until :meth:`detach`.

    :param checkpoint: name of the checkpoint to whose weights it belongs
    :param kind: the kind that they are sampled as
    :param host_kind: name of the kind that the host takes them for, ``None`` for an ordinary one
    """

    checkpoint: str
    kind: ModelKind
    host_kind: str | None

    def assert_in_place(self) -> None:
        """Set again what the host has overwritten since."""

    def detach(self) -> None:
        """Restore everything; may be called again."""


NewAdapter = Callable[[Any, str, ModelKind], KindAdapter]
"""Factory of adapters on a host, from its model, the checkpoint and the kind.

:raises UnsupportedError: if the model can't be sampled as one of this kind
"""


def adapter_of(model: Any) -> KindAdapter | None:
    """Return the adapter of a model, ``None`` if it has none."""
    return getattr(model, ADAPTER, None)


def kind_of(model: Any) -> ModelKind | None:
    """Return the kind that a model's adapter makes of it, ``None`` if it has none."""
    adapter = adapter_of(model)
    return None if adapter is None else adapter.kind


def is_flow_model(model: Any) -> bool:
    """Return True if a model is sampled as a flow model by our adapter."""
    kind = kind_of(model)
    return kind is not None and kind.is_flow


def unet_time(sigma: float) -> float:
    """Return a flow UNet's time input at a noise level: 0 to 1000, independent of the shift."""
    return UNET_TIMES * sigma_to_time(sigma)


class LevelTable:
    """A model's noise table, copied to the CPU, so that nothing waits for the device where it is asked.

    :param sigmas: the model's noise levels, ascending
    """

    def __init__(self, sigmas: Tensor) -> None:
        self._logs = sigmas.detach().cpu().double().log().numpy()

    def time_of(self, sigma: float) -> float:
        """Return the model time of a noise level, interpolated in its logarithm, as k-diffusion does."""
        return float(numpy.interp(math.log(max(sigma, 1e-10)), self._logs, numpy.arange(len(self._logs))))


class Copies:
    """The copy of a model's table for the model of a pass: made once, and again when a refiner brings another model."""

    def __init__(self) -> None:
        self._made: tuple[Any, Any] | None = None

    def of(self, owner: Any, copy: Callable[[], Any]) -> Any:
        """Return the copy for an owner.

        :param copy: makes it, if the owner is another one than before
        """
        if self._made is None or self._made[0] is not owner:
            self._made = owner, copy()
        return self._made[1]


def set_kind(model: Any, checkpoint: str, kind: ModelKind | None, new_adapter: NewAdapter) -> None:
    """Attach an adapter of this kind to a model, or with ``None`` remove it.

    :param checkpoint: the checkpoint whose weights the model has
    :raises UnsupportedError: if the model can't be sampled as one of this kind; then it has no adapter
    """
    adapter = adapter_of(model)
    if adapter is not None and (adapter.checkpoint, adapter.kind) == (checkpoint, kind):
        adapter.assert_in_place()
        return
    drop_adapter(model)
    if kind is not None:
        vars(model)[ADAPTER] = new_adapter(model, checkpoint, kind)


def drop_adapter(model: Any) -> None:
    """Remove the adapter from a model."""
    adapter = adapter_of(model)
    if adapter is not None:
        del vars(model)[ADAPTER]
        adapter.detach()
