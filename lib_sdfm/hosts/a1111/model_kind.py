"""A1111's model sampled as one of another kind, and detection of what the model predicts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import UnsupportedError
from ...ops.flow import preserving_to_flow, table_to_time, time_table, time_to_alpha_bar, velocity_to_noise
from ...ops.flow_probe import Recognition, Watch, recognise
from ...ops.precision import widest_float
from ...ops.v_prediction import has_zero_terminal_snr, table_to_level, v_to_eps, with_zero_terminal_snr
from ...sampling.model_kind import ModelKind, V
from ..attributes import InstanceAttribute, undo_all, undone_on_failure
from ..model_kind import INPAINTING, UNET_TIMES, KindAdapter, adapter_of, no_flow, no_v

TABLES = ("alphas_cumprod", "alphas_cumprod_original")
"""The table that samplers read, and the one from which the host restores it before each picture."""


@dataclass(frozen=True)
class A1111Adapters:
    """Factory of adapters.

    :param v_denoiser: makes the host's k-diffusion denoiser of v models, k-diffusion's ``CompVisVDenoiser``, of a model
    """

    v_denoiser: Callable[[Any], Any]

    def __call__(self, model: Any, checkpoint: str, kind: ModelKind) -> KindAdapter:
        if kind.is_flow:
            return A1111FlowModel(model, checkpoint, kind)
        if kind.name == V:
            return A1111VModel(model, checkpoint, kind, self.v_denoiser)
        return A1111NoiseModel(model, checkpoint, kind)


def host_kind(model: Any) -> str | None:
    """Return the name of the kind that the host takes a model for, ``None`` for an ordinary one (noise)."""
    return V if getattr(model, "parameterization", "eps") == "v" else None


class ReplacedTables:
    """Noise tables of A1111's model, replaced by one of ours until :meth:`restore`.

    :param table: ``(1000,)``
    :param names: the tables that are replaced
    :param is_ours: returns True for a table made from ours by the host
    """

    def __init__(self, model: Any, table: Tensor, names: tuple[str, ...], is_ours: Callable[[Tensor], bool]) -> None:
        self._model, self._table, self._is_ours = model, table, is_ours
        self._names = [name for name in names if hasattr(model, name)]
        self._pristine = {name: getattr(model, name).detach().clone() for name in TABLES if hasattr(model, name)}

    def set(self) -> None:
        """Set our table, again where the host has replaced it."""
        for name in self._names:
            setattr(self._model, name, self._table.to(self._pristine[TABLES[0]].device))

    def restore(self) -> None:
        """Restore the checkpoint's own tables, unless the host has replaced them since (weights loaded in place)."""
        present = {name: getattr(self._model, name) for name in self._pristine}
        left_behind = any(self._is_ours(table) for table in present.values())
        for name, table in self._pristine.items():
            kept = table if left_behind else present[name].to(table.dtype)
            setattr(self._model, name, kept.to(present[name].device))
        self._pristine, self._names = {}, []


class UnetTimeTables:
    """Tables of A1111's model that extensions index with the UNet's time inside it, made a flow model's until :meth:`restore`.

    ControlNet's reference modes add noise to a picture by the first two; its colour fix and inpainting get the denoised image
    and the UNet's output from the others. A flow UNet's times go to 1000, and its output is the velocity: the tables have 1001
    entries, with which LDM's formulas become ``x_t = (1-t) x0 + t noise``, ``x0 = x_t - t v`` and ``v = (x_t - x0) / t``.

    They stand in the instance's dictionary: buffers of the same names stay as they are, for weights that are loaded in place.
    """

    def __init__(self, model: Any) -> None:
        t = torch.linspace(0, 1, UNET_TIMES + 1)
        self._tables = {
            "sqrt_alphas_cumprod": 1 - t,
            "sqrt_one_minus_alphas_cumprod": t,
            "sqrt_recip_alphas_cumprod": torch.ones_like(t),
            "sqrt_recipm1_alphas_cumprod": t.clamp(min=1 / UNET_TIMES),
        }
        self._model = model
        self._before: dict[str, Tensor | None] = {}

    def set(self) -> None:
        """Set the tables that the model has, again where an extension has set its own (ControlNet, with SDXL)."""
        for name, table in self._tables.items():
            present = getattr(self._model, name, None)
            if isinstance(present, Tensor) and len(present) != len(table):
                self._before[name] = vars(self._model).get(name)
                vars(self._model)[name] = table.to(present.device)

    def restore(self) -> None:
        """Take the tables away, unless others have been set meanwhile; may be called again."""
        for name, before in self._before.items():
            if len(vars(self._model).get(name, ())) == UNET_TIMES + 1:
                del vars(self._model)[name]
                if before is not None:
                    vars(self._model)[name] = before
        self._before.clear()


class A1111FlowModel:
    """Adapter of a flow model: replaces the noise tables of A1111's ``sd_model``, ``apply_model`` and ``parameterization``.

    ``apply_model`` takes DDPM's latent and an index into the table, and returns noise; the UNet behind it takes ``x_t`` and
    1000 t, and returns the velocity. The conversion is computed in float32.
    """

    def __init__(self, model: Any, checkpoint: str, kind: ModelKind) -> None:
        require_flow_possible(model)
        self.checkpoint, self.kind, self.host_kind = checkpoint, kind, host_kind(model)
        self._model, self._times = model, time_table(kind.shift)
        self._dtype = widest_float(model.alphas_cumprod.device)
        table = time_to_alpha_bar(self._times).to(self._dtype)
        self._tables = ReplacedTables(model, table, TABLES, self._is_ours)
        self._unet_tables = UnetTimeTables(model)
        self.predict = model.apply_model
        self._attributes = [
            InstanceAttribute(model, "apply_model", self._apply_model),
            InstanceAttribute(model, "parameterization", "eps"),
        ]
        with undone_on_failure(self.detach):
            self.assert_in_place()

    def assert_in_place(self) -> None:
        """Restore the flow tables: the host copies one table to the other before each picture, and its options rewrite it."""
        self._tables.set()
        self._unet_tables.set()

    def detach(self) -> None:
        """Restore everything; may be called again."""
        undo_all(*(attribute.restore for attribute in self._attributes), self._tables.restore, self._unet_tables.restore)

    def _is_ours(self, table: Tensor) -> bool:
        ours = time_to_alpha_bar(self._times).to(table.dtype)
        return table.shape == ours.shape and torch.equal(table.detach().cpu(), ours)

    def _apply_model(self, x: Tensor, index: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Replace the model's method of this name: return the noise in ``x``, for table indices ``(rows,)``."""
        table = self._model.alphas_cumprod
        if table.dtype != self._dtype or not self._is_ours(table):
            raise UnsupportedError(
                "Flow matching: the WebUI's noise table was changed while the checkpoint is sampled as a flow model. Set its "
                "options “Noise schedule for sampling” to Default and “Downcast alphas_cumprod” off"
            )
        t = table_to_time(index.detach().cpu(), self._times).to(dtype=torch.float32, device=x.device)
        per_image = t.view(-1, 1, 1, 1)
        latent = preserving_to_flow(x.float(), per_image)
        velocity = self.predict(latent.to(x.dtype), t * UNET_TIMES, *args, **kwargs)
        return velocity_to_noise(velocity.float(), latent, per_image)


class A1111VModel:
    """Adapter of a v model that A1111 takes for a noise-predicting one: replaces ``apply_model``, adds ``create_denoiser``.

    ``apply_model`` returns noise, for samplers in timesteps, LCM and other extensions. Those of k-diffusion get the host's own
    denoiser of v models by ``create_denoiser``: it knows the noise level itself, which an index rounded by the option
    “Enable quantization in K samplers” doesn't tell. Of a model that the host samples as v already only the table is replaced.

    :param v_denoiser: see :class:`A1111Adapters`
    """

    def __init__(self, model: Any, checkpoint: str, kind: ModelKind, v_denoiser: Callable[[Any], Any]) -> None:
        require_v_possible(model)
        self.checkpoint, self.kind, self.host_kind = checkpoint, kind, host_kind(model)
        self._model, self._v_denoiser, self.predict = model, v_denoiser, model.apply_model
        self._attributes: list[InstanceAttribute] = []
        self._tables = self._new_tables() if kind.zero_terminal_snr else None
        with undone_on_failure(self.detach):
            self.assert_in_place()
            if self.host_kind != V:
                self._attributes += [
                    InstanceAttribute(model, "apply_model", self._apply_model),
                    InstanceAttribute(model, "create_denoiser", self._create_denoiser),
                ]

    def assert_in_place(self) -> None:
        """Set the table of zero terminal SNR, if it has one.

        :raises UnsupportedError: if the host's option stores tables in half precision, in which this one can't be
        """
        if self._tables is None:
            return
        if self._model.alphas_cumprod.dtype == torch.float16:
            raise UnsupportedError(
                "Zero terminal SNR: half precision can't represent the end of its noise table. Turn off the WebUI's option "
                "“Downcast alphas_cumprod”"
            )
        self._tables.set()

    def detach(self) -> None:
        """Restore everything; may be called again."""
        tables = [] if self._tables is None else [self._tables.restore]
        undo_all(*(attribute.restore for attribute in self._attributes), *tables)

    def _new_tables(self) -> ReplacedTables:
        """Return the rescaled table: where the host rescales by itself, it must find its own one to do that from."""
        own = getattr(self._model, TABLES[1], self._model.alphas_cumprod)
        table = own.detach().float() if has_zero_terminal_snr(own) else with_zero_terminal_snr(own.float())
        names = TABLES[:1] if self.kind.host_rescales else TABLES
        return ReplacedTables(self._model, table, names, has_zero_terminal_snr)

    def _apply_model(self, x: Tensor, index: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Replace the model's method of this name: return the noise in ``x``, for table indices ``(rows,)``."""
        level = table_to_level(index.to(x.device), self._model.alphas_cumprod.to(x.device)).view(-1, 1, 1, 1)
        return v_to_eps(self.predict(x, index, *args, **kwargs).float(), x.float(), level)

    def _create_denoiser(self) -> Any:
        """Return the denoiser that the host's k-diffusion samplers use instead of their own."""
        denoiser = self._v_denoiser(self._model)
        denoiser.get_v = lambda x, t, cond, **kwargs: self.predict(x, t, cond)
        return denoiser


class A1111NoiseModel:
    """Adapter of a noise-predicting model that A1111 takes for a v model, because of a ``.yaml`` beside its file."""

    def __init__(self, model: Any, checkpoint: str, kind: ModelKind) -> None:
        self.checkpoint, self.kind, self.host_kind = checkpoint, kind, host_kind(model)
        self.predict = model.apply_model
        self._parameterization = InstanceAttribute(model, "parameterization", "eps")

    def assert_in_place(self) -> None:
        """Do nothing: the host doesn't change it."""

    def detach(self) -> None:
        """Restore the host's own kind; may be called again."""
        self._parameterization.restore()


def require_flow_possible(model: Any) -> None:
    """Raise :class:`UnsupportedError` if A1111's model can't be used as a flow model."""
    conditioning = getattr(getattr(model, "model", None), "conditioning_key", "crossattn")
    if getattr(model, "is_sd3", False):
        raise no_flow("SD3 is a flow model that the WebUI recognises by itself")
    if getattr(model, "is_sdxl_inpaint", False) or conditioning in ("hybrid", "concat"):
        raise no_flow(INPAINTING)
    if getattr(model, "cond_stage_key", None) == "edit" or conditioning not in (None, "crossattn", "adm"):
        raise no_flow("this checkpoint uses another kind of conditioning")
    if not hasattr(model, TABLES[0]) or len(getattr(model, TABLES[0])) != len(time_table(1.0)):
        raise no_flow("this model has no noise table of 1000 entries")


def require_v_possible(model: Any) -> None:
    """Raise :class:`UnsupportedError` if A1111's model can't be used as a v model."""
    if getattr(model, "is_sd3", False):
        raise no_v("SD3 is a flow model that the WebUI recognises by itself")
    if not hasattr(model, TABLES[0]):
        raise no_v("this model has no noise table")


@torch.no_grad()
def ask_a1111(
    model: Any,
    device: torch.device | str = "cpu",
    autocast: AbstractContextManager | None = None,
    watch: Watch = lambda call, most: None,
) -> Recognition:
    """Return what A1111's model predicts.

    :param device: device on which the host samples; an idle model's weights may be elsewhere (``--medvram``)
    :param autocast: context in which the host calls the model
    :param watch: called before each call of the UNet; what it raises ends the detection
    """
    adapter = adapter_of(model)
    apply = model.apply_model if adapter is None else adapter.predict
    with autocast or nullcontext():
        cond = model.get_learned_conditioning([""])

        def predict(x: Tensor, times: Tensor) -> Tensor:
            return apply(x, times, _cond_of(cond, len(x), x))

        return recognise(predict, device=device, watch=watch)


def _cond_of(cond: Any, rows: int, x: Tensor) -> dict[str, Any]:
    """Return A1111's conditioning of a model call, one row per latent."""
    repeat = {key: value.expand(rows, *value.shape[1:]) for key, value in cond.items()} if isinstance(cond, dict) else None
    no_picture = {"c_concat": [x.new_zeros(rows, 5, 1, 1)]}
    return {**(repeat or {"c_crossattn": [cond.expand(rows, *cond.shape[1:])]}), **no_picture}
