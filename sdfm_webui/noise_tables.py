"""Denoisers that the host's schedules read, made from a model's noise table alone."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from lib_sdfm.hosts.model_kind import kind_of
from lib_sdfm.sampling.sampler_record import SamplerRecord


class UnknownSchedule(Exception):
    """Raised if the calls can't be predicted; the message says why."""


@dataclass(frozen=True)
class NoiseTables:
    """Factory of the denoisers that the host's schedules read, k-diffusion's, from a model's noise table alone.

    :param external: the host's ``k_diffusion.external``
    :param lcm: the host's ``modules.sd_samplers_lcm``, if it has one
    :param opts: the host's settings
    """

    external: Any
    lcm: Any
    opts: Any

    def __call__(self, model: Any, record: SamplerRecord) -> Any:
        """Return a denoiser that has ``sigmas``, ascending, and can't predict.

        :raises UnknownSchedule: if the model has no such table
        """
        predictor, alphas = _predictor_of(model), getattr(model, "alphas_cumprod", None)
        if _makes_its_own_denoiser(model) or (predictor is None and alphas is None):
            raise UnknownSchedule("the checkpoint has a schedule of its own")
        if record.own_grid and not record.in_timesteps:
            return self.lcm.LCMCompVisDenoiser(_table_of(model))
        if predictor is not None:
            return self.external.ForgeScheduleLinker(predictor)
        return self.external.CompVisDenoiser(_table_of(model), quantize=self.opts.enable_quantization)


def _makes_its_own_denoiser(model: Any) -> bool:
    """Return True for a model with its own noise schedule (SD3); the denoiser of our adapter of v models has the table's."""
    return hasattr(type(model), "create_denoiser") or ("create_denoiser" in vars(model) and kind_of(model) is None)


def _table_of(model: Any) -> Any:
    """Return the attributes that denoisers read from a model at construction, without the model."""
    known = {name: getattr(model, name, None) for name in ("alphas_cumprod", "device", "forge_objects")}
    return SimpleNamespace(**known)


def _predictor_of(model: Any) -> Any:
    """Return Forge's noise table, ``None`` on another host (reForge has A1111's)."""
    objects = getattr(model, "forge_objects", None)
    return None if objects is None else getattr(objects.unet.model, "predictor", None)
