"""Model kinds in the host: adapters of its models, in jobs and between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.kind_pass import FlowUse, KindUse, kind_passes
from lib_sdfm.hosts.model_kind import NewAdapter, adapter_of, drop_adapter, kind_of, set_kind
from lib_sdfm.hosts.run import Run
from lib_sdfm.ops.flow_probe import Recognition
from lib_sdfm.ops.flow_schedules import Shape
from lib_sdfm.sampling.model_kind import FLOW, ModelKind, V
from lib_sdfm.sampling.sampler_names import resolve_sampler
from lib_sdfm.sampling.stages import ModelFacts
from lib_sdfm.schema.settings import Settings
from lib_sdfm.techniques.flow import ON, Flow
from lib_sdfm.techniques.model_kind import ModelKinds, asked_kind

from .checkpoints import checkpoint_id, checkpoint_of, file_says, name_of
from .idle import explained, harmless
from .kind_memory import KindMemory
from .kind_watch import DetectWatch

Sampling = Callable[..., Any]


@dataclass(frozen=True)
class KindHost:
    """The host's parts that model kinds need.

    :param new_adapter: attaches an adapter to a model
    :param loaded: returns the loaded model, the host's own object
    :param target: returns the part of that object to which the adapter is attached
    :param memory: what is remembered about checkpoints
    :param shape: the flow schedules' shapes, from the host's options
    :param probe: detects what the loaded model predicts, if supported
    :param host_kind: returns the name of the kind that the host takes a target for, ``None`` for an ordinary one
    :param host_rescales: returns True if the host itself rescales a model's noise table to zero terminal SNR
    :param keep_table: returns a function that restores a target's noise table of now
    :param watch: follows the detection
    :param blind_samplers: names of the host's samplers that take every model for a noise-predicting one
    """

    new_adapter: NewAdapter
    loaded: Callable[[], Any]
    target: Callable[[Any], Any]
    memory: KindMemory
    shape: Callable[[], Shape] = Shape
    probe: Callable[[Any], Recognition] | None = None
    host_kind: Callable[[Any], str | None] = lambda target: None
    host_rescales: Callable[[Any], bool] = lambda model: False
    keep_table: Callable[[Any], Callable[[], None]] = lambda target: lambda: None
    watch: DetectWatch | None = None
    blind_samplers: tuple[str, ...] = ()

    def remembered(self) -> ModelKind | None:
        """Return the kind that the loaded checkpoint is remembered as."""
        return self.memory.kind(checkpoint_of(self.loaded()))

    def is_remembered_as_flow(self) -> bool:
        """Return True if the loaded checkpoint is remembered as a flow model."""
        kind = self.remembered()
        return kind is not None and kind.is_flow

    def facts(self, facts: ModelFacts, settings: Settings) -> ModelFacts:
        """Return a job's facts with what is known of the loaded checkpoint's kind."""
        model = self.loaded()
        return replace(
            facts,
            remembered=self.remembered(),
            asked_kind=asked_kind(settings.techniques),
            host_kind=self.taken_for(model),
            host_rescales=self.host_rescales(model),
        )

    def taken_for(self, model: Any) -> str | None:
        """Return the name of the kind that the host takes a model for, ``None`` for an ordinary one."""
        target = self.target(model)
        adapter = adapter_of(target)
        return self.host_kind(target) if adapter is None else adapter.host_kind

    def table_keeper(self) -> Callable[[], None]:
        """Return a function that restores the loaded model's noise table of now, if the host is about to rescale it."""
        model = self.loaded()
        return self.keep_table(self.target(model)) if self.host_rescales(model) else lambda: None

    def use_of(self, settings: Settings) -> KindUse | None:
        """Return how resolved settings use the loaded model, ``None`` if as the host does."""
        flow, model = settings.techniques.get(Flow.name), settings.techniques.get(ModelKinds.name)
        if flow is not None and flow.mode == ON:
            use = FlowUse(flow.shift, flow.end, flow.hires_end, self.shape())
            return KindUse(ModelKind(FLOW, shift=flow.shift), use)
        if model is None:
            return None
        return KindUse(self._on_host(ModelKind(model.kind, None, model.zero_terminal_snr), self.loaded()))

    def _on_host(self, kind: ModelKind, model: Any) -> ModelKind:
        """Return a kind, with what the host does about the noise table."""
        rescales = kind.name == V and self.host_rescales(model)
        return replace(kind, zero_terminal_snr=True, host_rescales=True) if rescales else kind

    def apply(self, use: KindUse | None) -> None:
        """Attach the adapter to the loaded model, or remove it.

        :raises UnsupportedError: if the model can't be sampled so
        """
        model = self.loaded()
        set_kind(self.target(model), checkpoint_of(model), None if use is None else use.kind, self.new_adapter)

    def has_refiner_loaded(self, p: Any) -> bool:
        """Return True if a job began with another checkpoint: then it doesn't begin now (see ``forget_earlier``)."""
        return getattr(p, "sd_model_hash", None) not in (None, getattr(self.loaded(), "sd_model_hash", None))

    def contradiction(self, settings: Settings) -> str | None:
        """Return a warning if a job asks for another kind than the checkpoint is remembered as, or its file says it is."""
        asked, model = asked_kind(settings.techniques), self.loaded()
        if asked is None:
            return None
        known, said = self.memory.get(checkpoint_of(model)), file_says(model)
        kind, why = (known.kind, "is remembered as") if known is not None else (said.kind, "says in its file that it is")
        if kind in (None, asked):
            return None
        return f"{name_of(model)} {why} {described(kind)}, but is sampled as {described(asked)}, as chosen for this picture"

    def blind_sampler(self, p: Any) -> str | None:
        """Return a warning if a job uses a sampler that takes the host's own v model for a noise-predicting one."""
        model, hires = self.loaded(), getattr(p, "hr_sampler_name", None) if getattr(p, "enable_hr", False) else None
        used = next((name for name in (getattr(p, "sampler_name", None), hires) if name in self.blind_samplers), None)
        if used is None or self.taken_for(model) != V:
            return None
        return (
            f"{used} of this WebUI takes {name_of(model)} for a noise-predicting checkpoint, although its .yaml file says "
            "v-prediction. Choose another sampler, or remove that file and set the model kind to v-prediction in SDFM"
        )

    def model_loaded(self, model: Any) -> None:
        """Apply what is remembered about a checkpoint just loaded into a model (a refiner's, for example)."""
        target, checkpoint = self.target(model), checkpoint_of(model)
        drop_adapter(target)
        kind = self.memory.kind(checkpoint)
        if kind is not None:
            set_kind(target, checkpoint, self._on_host(kind, model), self.new_adapter)

    def sampling(self, run: Callable[[Callable], Run], p: Any, new_pass: Any, use: KindUse | None) -> Sampling:
        """Return the function that samples a batch.

        :param run: makes a run, given a factory of passes
        :param use: how the model is used, ``None`` if as the host does
        """
        passes = kind_passes(new_pass, use, self._loaded_kind)

        def sample(inner: Sampling, *args: Any, **kwargs: Any) -> Any:
            with explained():
                self._require_refiner_fits(p, use)
                self.apply(use)
            return run(passes).sample(inner, *args, **kwargs)

        return sample

    def _loaded_kind(self) -> ModelKind | None:
        return kind_of(self.target(self.loaded()))

    def plain_sampling(self, p: Any) -> Sampling | None:
        """Return the function that samples a batch without SDFM if something must be undone or checked first, else ``None``."""
        if self._loaded_kind() is None and getattr(p, "refiner_checkpoint_info", None) is None:
            return None

        def sample(inner: Sampling, *args: Any, **kwargs: Any) -> Any:
            with harmless():
                self._require_refiner_fits(p, None)
            self.apply(None)
            return inner(*args, **kwargs)

        return sample

    def _require_refiner_fits(self, p: Any, use: KindUse | None) -> None:
        """Raise :class:`UnsupportedError` if the noise tables of model and refiner differ and the sampler works in indices."""
        info = getattr(p, "refiner_checkpoint_info", None)
        sampler = resolve_sampler(str(p.sampler_name)).sampler
        if info is None or sampler is None or not sampler.in_timesteps:
            return
        first, second = None if use is None else use.kind, self.memory.kind(checkpoint_id(info))
        if second is not None:
            second = self._on_host(second, self.loaded())
        if (first or second) is None or (first or second).same_levels(second if first else None):
            return
        is_flow = any(kind is not None and kind.is_flow for kind in (first, second))
        what, kind = ("Flow matching", "a flow model") if is_flow else ("Zero terminal SNR", "a model with zero terminal SNR")
        raise UnsupportedError(
            f"{what}: {p.sampler_name} can't switch between {kind} and another model. Choose a sampler such as Euler or "
            "DPM++ 2M"
        )


def described(kind: str) -> str:
    """Return a kind in words."""
    return {V: "a v-prediction model", FLOW: "a flow model"}.get(kind, "an ordinary model")
