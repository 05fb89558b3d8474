"""Flow matching in the host: which model is one, and the edge on it, in jobs and between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.flow_edge import NewEdge, drop_edge, edge_of, set_edge
from lib_sdfm.hosts.flow_pass import FlowUse, flow_passes
from lib_sdfm.hosts.run import Run
from lib_sdfm.ops.flow_schedules import Shape
from lib_sdfm.sampling.plan import Plan
from lib_sdfm.techniques.flow import Flow

from .flow_memory import FlowMemory

Sampling = Callable[..., Any]
IN_TIMESTEPS = ("DDIM", "DDIM CFG++", "PLMS", "UniPC")
"""Samplers that count in places of the noise table that is there when they start."""


@dataclass(frozen=True)
class FlowHost:
    """What flow matching needs of a host.

    :param new_edge: makes the edge
    :param loaded: gives the checkpoint's model that is loaded, the host's own object
    :param target: what of that object has the edge
    :param memory: which checkpoints are flow models
    :param shape: what the host's options say about schedules
    """

    new_edge: NewEdge
    loaded: Callable[[], Any]
    target: Callable[[Any], Any]
    memory: FlowMemory
    shape: Callable[[], Shape] = Shape

    def remembered_shift(self) -> float | None:
        """The shift of the loaded checkpoint, if it is remembered as a flow model."""
        return self.memory.shift(checkpoint_of(self.loaded()))

    def use_of(self, plan: Plan) -> FlowUse | None:
        """How a plan uses the loaded model as a flow model, ``None`` if it doesn't."""
        chosen = next((t.settings for t in plan.techniques if isinstance(t, Flow) and t.in_use), None)
        return None if chosen is None else FlowUse(chosen.shift, chosen.end, chosen.hires_end, self.shape())

    def apply(self, use: FlowUse | None) -> None:
        """Puts the edge on the loaded model, or takes it off.

        :raises UnsupportedError: if the model can't be a flow model
        """
        model = self.loaded()
        set_edge(self.target(model), checkpoint_of(model), None if use is None else use.shift, self.new_edge)

    def model_loaded(self, model: Any) -> None:
        """Another checkpoint's weights are in a model (of a refiner, say): what is remembered of that one counts."""
        target, checkpoint = self.target(model), checkpoint_of(model)
        drop_edge(target)
        shift = self.memory.shift(checkpoint)
        if shift is not None:
            set_edge(target, checkpoint, shift, self.new_edge)

    def sampling(self, run: Callable[[Callable], Run], p: Any, new_pass: Any, use: FlowUse | None) -> Sampling:
        """What samples a batch.

        :param run: makes a run, of what makes a pass
        :param use: how the model is used, ``None``: as it is by itself
        """
        passes = new_pass if use is None else flow_passes(new_pass, use)

        def sample(inner: Sampling, *args: Any, **kwargs: Any) -> Any:
            require_refiner_fits(p, use, self.memory)
            self.apply(use)
            return run(passes).sample(inner, *args, **kwargs)

        return sample

    def plain_sampling(self, p: Any) -> Sampling | None:
        """What samples a batch without us where something has to be put right first, ``None`` if nothing has."""
        model = self.loaded()
        if edge_of(self.target(model)) is None and getattr(p, "refiner_checkpoint_info", None) is None:
            return None

        def sample(inner: Sampling, *args: Any, **kwargs: Any) -> Any:
            require_refiner_fits(p, None, self.memory)
            self.apply(None)
            return inner(*args, **kwargs)

        return sample


def checkpoint_of(model: Any) -> str:
    """What identifies a model's checkpoint: its hash, or its name where the host makes none."""
    info = getattr(model, "sd_checkpoint_info", None)
    return str(getattr(info, "sha256", None) or getattr(info, "shorthash", None) or getattr(info, "name", ""))


def require_refiner_fits(p: Any, use: FlowUse | None, memory: FlowMemory) -> None:
    """Raises :class:`UnsupportedError` where model and refiner differ in kind and the sampler counts in places of tables."""
    info = getattr(p, "refiner_checkpoint_info", None)
    if info is None or p.sampler_name not in IN_TIMESTEPS:
        return
    name = str(getattr(info, "sha256", None) or getattr(info, "shorthash", None) or getattr(info, "name", ""))
    if memory.shift(name) != (None if use is None else use.shift):
        raise UnsupportedError(
            f"Flow matching: {p.sampler_name} can't go over from a flow model to another model or back. Choose a sampler "
            "such as Euler or DPM++ 2M"
        )
