"""Flow matching in the host: flow adapters of its models, in jobs and between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.flow_pass import FlowUse, flow_passes
from lib_sdfm.hosts.model_kind import NewFlowModel, drop_flow_model, flow_model_of, set_flow_model
from lib_sdfm.hosts.run import Run
from lib_sdfm.ops.flow_probe import FLOW, Recognition
from lib_sdfm.ops.flow_schedules import Shape
from lib_sdfm.sampling.sampler_names import resolve_sampler
from lib_sdfm.schema.params import params_of
from lib_sdfm.schema.settings import Settings
from lib_sdfm.techniques.flow import AUTO, ON, Flow, FlowSettings

from .flow_memory import FlowMemory, Remembered
from .idle import explained, harmless

Sampling = Callable[..., Any]
PARAMS = {param.name: param for param in params_of(FlowSettings)}
METADATA_KEYS = ("modelspec.prediction_type", "modelspec.prediction", "prediction_type", "model_type")
FLOW_WORDS = ("flow", "rectified")


@dataclass(frozen=True)
class FlowHost:
    """The host's parts that flow matching needs.

    :param new_flow_model: attaches a flow adapter to a model
    :param loaded: returns the loaded model, the host's own object
    :param target: returns the part of that object to which the flow adapter is attached
    :param memory: which checkpoints are flow models
    :param shape: the schedules' shapes, from the host's options
    :param probe: detects what the loaded model predicts, if supported
    """

    new_flow_model: NewFlowModel
    loaded: Callable[[], Any]
    target: Callable[[Any], Any]
    memory: FlowMemory
    shape: Callable[[], Shape] = Shape
    probe: Callable[[Any], Recognition] | None = None

    def remembered_shift(self) -> float | None:
        """Return the shift of the loaded checkpoint, if it is remembered as a flow model."""
        return self.memory.shift(checkpoint_of(self.loaded()))

    def use_of(self, settings: Settings) -> FlowUse | None:
        """Return how resolved settings use the loaded model as a flow model, ``None`` if they don't."""
        chosen = settings.techniques.get(Flow.name)
        return (
            None if chosen is None or chosen.mode != ON else FlowUse(chosen.shift, chosen.end, chosen.hires_end, self.shape())
        )

    def apply(self, use: FlowUse | None) -> None:
        """Attach the flow adapter to the loaded model, or remove it.

        :raises UnsupportedError: if the model can't be used as a flow model
        """
        model = self.loaded()
        set_flow_model(self.target(model), checkpoint_of(model), None if use is None else use.shift, self.new_flow_model)

    def has_refiner_loaded(self, p: Any) -> bool:
        """Return True if a job began with another checkpoint: then it doesn't begin now (see ``forget_earlier``)."""
        return getattr(p, "sd_model_hash", None) not in (None, getattr(self.loaded(), "sd_model_hash", None))

    def remember(self, mode: str, shift: float) -> str:
        """Remember the loaded checkpoint; return what was done, in words.

        :raises SettingError: for an invalid mode or shift
        :raises UnsupportedError: if no checkpoint is loaded
        """
        model = require_loaded(self.loaded())
        chosen = FlowSettings(mode=PARAMS["mode"].check(mode), shift=PARAMS["shift"].check(shift))
        name = name_of(model)
        if chosen.mode == AUTO:
            self.memory.forget(checkpoint_of(model))
            return f"{name}: nothing is remembered any more; it counts as an ordinary checkpoint."
        self.memory.put(checkpoint_of(model), Remembered(chosen.mode, chosen.shift, name))
        as_what = f"a flow model with shift {chosen.shift:g}" if chosen.mode == ON else "an ordinary checkpoint"
        return f"{name} is remembered as {as_what}. It counts wherever flow matching is closed or Auto."

    def detect(self) -> dict[str, Any]:
        """Return the detected kind of the loaded checkpoint, and why: ``flow`` is true, false or ``None`` if unknown.

        :raises UnsupportedError: if no checkpoint is loaded
        """
        model = require_loaded(self.loaded())
        found = {"checkpoint": name_of(model), **said_by_metadata(metadata_of(model))}
        if found["flow"] is None and self.probe is not None:
            asked = self.probe(model)
            what = {"eps": "noise", "v": "v", "flow": "a flow model's velocity"}[asked.kind]
            found["flow"] = asked.kind == FLOW if asked.certain else None
            found["why"] = f"asked with noisy pictures it predicts {what}" + (
                "" if asked.certain else ", but that is not certain"
            )
        known = self.memory.get(checkpoint_of(model))
        return {**found, "remembered": None if known is None else {"mode": known.mode, "shift": known.shift}}

    def model_loaded(self, model: Any) -> None:
        """Apply what is remembered about a checkpoint just loaded into a model (a refiner's, for example)."""
        target, checkpoint = self.target(model), checkpoint_of(model)
        drop_flow_model(target)
        shift = self.memory.shift(checkpoint)
        if shift is not None:
            set_flow_model(target, checkpoint, shift, self.new_flow_model)

    def sampling(self, run: Callable[[Callable], Run], p: Any, new_pass: Any, use: FlowUse | None) -> Sampling:
        """Return the function that samples a batch.

        :param run: makes a run, given a factory of passes
        :param use: how the model is used as a flow model, ``None`` if it isn't
        """
        passes = new_pass if use is None else flow_passes(new_pass, use, self._is_flow)

        def sample(inner: Sampling, *args: Any, **kwargs: Any) -> Any:
            with explained():
                require_refiner_fits(p, use, self.memory)
                self.apply(use)
            return run(passes).sample(inner, *args, **kwargs)

        return sample

    def _is_flow(self) -> bool:
        return flow_model_of(self.target(self.loaded())) is not None

    def plain_sampling(self, p: Any) -> Sampling | None:
        """Return the function that samples a batch without SDFM if something must be undone or checked first, else ``None``."""
        model = self.loaded()
        if flow_model_of(self.target(model)) is None and getattr(p, "refiner_checkpoint_info", None) is None:
            return None

        def sample(inner: Sampling, *args: Any, **kwargs: Any) -> Any:
            with harmless():
                require_refiner_fits(p, None, self.memory)
            self.apply(None)
            return inner(*args, **kwargs)

        return sample


def require_loaded(model: Any) -> Any:
    """Return the model.

    :raises UnsupportedError: if none is loaded; Forge loads it with the first picture
    """
    if getattr(model, "sd_checkpoint_info", None) is None:
        raise UnsupportedError("Flow matching: no checkpoint is loaded yet. Make a picture first")
    return model


def name_of(model: Any) -> str:
    """Return the name by which the user knows a checkpoint."""
    info = model.sd_checkpoint_info
    return str(getattr(info, "name_for_extra", None) or getattr(info, "name", None) or "This checkpoint")


def metadata_of(model: Any) -> dict[str, Any]:
    """Return the metadata of a checkpoint's file."""
    said = getattr(model.sd_checkpoint_info, "metadata", None)
    return said if isinstance(said, dict) else {}


def said_by_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what the metadata say about being a flow model: true, false, or ``None``, and why."""
    for key in METADATA_KEYS:
        said = str(metadata.get(key, "")).lower()
        if said:
            return {"flow": any(word in said for word in FLOW_WORDS), "why": f"its file says so ({key}: {metadata[key]})"}
    return {"flow": None, "why": "its file doesn't say"}


def checkpoint_of(model: Any) -> str:
    """Return the id of a model's checkpoint, as :func:`checkpoint_id` does; empty if none is loaded."""
    return checkpoint_id(getattr(model, "sd_checkpoint_info", None))


def checkpoint_id(info: Any) -> str:
    """Return what identifies a checkpoint: its hash, or its name where the host makes no hash.

    :param info: the host's record of a checkpoint
    """
    return str(getattr(info, "sha256", None) or getattr(info, "shorthash", None) or getattr(info, "name", ""))


def require_refiner_fits(p: Any, use: FlowUse | None, memory: FlowMemory) -> None:
    """Raise :class:`UnsupportedError` if model and refiner differ in kind and the sampler works in table indices."""
    info = getattr(p, "refiner_checkpoint_info", None)
    sampler = resolve_sampler(str(p.sampler_name)).sampler
    if info is None or sampler is None or not sampler.in_timesteps:
        return
    if memory.shift(checkpoint_id(info)) != (None if use is None else use.shift):
        raise UnsupportedError(
            f"Flow matching: {p.sampler_name} can't go over from a flow model to another model or back. Choose a sampler "
            "such as Euler or DPM++ 2M"
        )
