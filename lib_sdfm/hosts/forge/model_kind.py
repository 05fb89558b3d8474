"""Forge's model sampled as one of another kind, by its predictor: it converts between k-diffusion's latents and the UNet's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...ops.flow import exploding_to_flow, shift_time, sigma_to_time, time_table, time_to_sigma, velocity_to_denoised
from ...ops.flow_probe import IMAGES, LATENT, Recognition, Watch, recognise
from ...ops.v_prediction import has_zero_terminal_snr, with_zero_terminal_snr
from ...sampling.model_kind import FLOW, NOISE, ModelKind, V
from ..attributes import InstanceAttribute, undone_on_failure
from ..model_kind import INPAINTING, UNET_TIMES, KindAdapter, no_flow, no_v

NOISE_PREDICTING = ("epsilon", "v_prediction")
CONST = "const"
"""Forge's name of flow models that it knows by itself."""
TYPES = dict(zip((NOISE, V), NOISE_PREDICTING))
"""Forge's names of the kinds that its own predictor knows."""
LOWEST_TIMESTEP = 1.0
INPAINTING_CHANNELS = 9


class FlowPredictor(nn.Module):
    """Forge's predictor interface, for a flow model.

    :param shift: above 0
    :param device: device of its table
    """

    prediction_type = "epsilon"
    sigma_data = 1.0

    def __init__(self, shift: float, device: torch.device) -> None:
        super().__init__()
        sigmas = time_to_sigma(time_table(shift))
        self.shift = shift
        self.register_buffer("sigmas", sigmas.float().to(device))
        self.register_buffer("log_sigmas", sigmas.log().float().to(device))
        self.register_buffer("alphas_cumprod", (1 / (sigmas**2 + 1)).float().to(device))

    @property
    def sigma_min(self) -> Tensor:
        """The table's lowest noise level."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The table's highest noise level."""
        return self.sigmas[-1]

    def set_sigmas(self, sigmas: Tensor) -> None:
        """Ignore Forge's option for zero terminal SNR: a flow model reaches pure noise anyway."""

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        """Return the UNet's input ``x_t`` for a latent of k-diffusion."""
        return exploding_to_flow(x, sigma_to_time(_per_image(sigma)))

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """Return the denoised image for the UNet's velocity.

        :param model_input: k-diffusion's latent
        """
        t = sigma_to_time(_per_image(sigma))
        return velocity_to_denoised(model_output, exploding_to_flow(model_input, t), t)

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Return the latent image with noise added."""
        return latent_image + noise * ((1 + sigma**2) ** 0.5 if max_denoise else sigma)

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """Return the latent unchanged."""
        return latent

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the UNet's time input."""
        return sigma_to_time(sigma) * UNET_TIMES

    def sigma(self, timestep: Tensor) -> Tensor:
        """Return the noise level of an unshifted time in thousandths; Forge's schedules space these evenly, as ComfyUI's do."""
        shifted = shift_time(timestep.float().clamp(min=LOWEST_TIMESTEP) / UNET_TIMES, self.shift)
        return time_to_sigma(torch.minimum(shifted, sigma_to_time(self.sigma_max).to(shifted)))

    def percent_to_sigma(self, percent: float) -> float:
        """Return the noise level at a fraction of the schedule, 0 being its start."""
        return float(self.sigma(torch.tensor((1 - min(max(percent, 0.0), 1.0)) * UNET_TIMES))) if percent < 1 else 0.0


def _per_image(sigma: Tensor) -> Tensor:
    return sigma.view(-1, 1, 1, 1)


def forge_adapter(model: Any, checkpoint: str, kind: ModelKind) -> KindAdapter:
    """Return a new adapter for a model of Forge."""
    return (ForgeFlowModel if kind.is_flow else ForgeOtherKind)(model, checkpoint, kind)


def is_host_flow(model: Any) -> bool:
    """Return True for a flow model that Forge samples itself, in the model's own time (rectified SDXL, SD3.5, Flux)."""
    return getattr(getattr(model, "predictor", None), "prediction_type", None) == CONST


def host_kind(model: Any) -> str | None:
    """Return the name of the kind that the host takes a model for, ``None`` for an ordinary one (noise)."""
    kind = getattr(model.predictor, "prediction_type", NOISE_PREDICTING[0])
    return None if kind == NOISE_PREDICTING[0] else V if kind == NOISE_PREDICTING[1] else FLOW


def kept_table(model: Any) -> Callable[[], None]:
    """Return a function that restores the noise table of now.

    Forge rescales it around ``p.sample``, and restores it only if that raises nothing; and in the predictor that is in place by
    then, which may be a flow model's.
    """
    predictor = model.predictor
    sigmas = getattr(predictor, "sigmas", None)

    def restore() -> None:
        if sigmas is not None and predictor.sigmas is not sigmas and hasattr(predictor, "set_sigmas"):
            predictor.set_sigmas(sigmas)

    return restore


class ForgeFlowModel:
    """Adapter of a flow model: replaces ``predictor`` of ``forge_objects.unet.model``."""

    def __init__(self, model: Any, checkpoint: str, kind: ModelKind) -> None:
        require_flow_possible(model)
        self.checkpoint, self.kind, self.host_kind = checkpoint, kind, host_kind(model)
        self._own = model.predictor
        self._model, self._flow = model, FlowPredictor(kind.shift, self._own.sigmas.device)
        self.assert_in_place()

    def assert_in_place(self) -> None:
        """Set the predictor."""
        if self._own is not None:
            self._model.predictor = self._flow

    def detach(self) -> None:
        """Restore the predictor, unless other code has set another one."""
        if self._own is not None and self._model.predictor is self._flow:
            self._model.predictor = self._own
        self._own = None


class ForgeOtherKind:
    """Adapter of a v model that Forge takes for a noise-predicting one, or the reverse: sets the predictor's type and table.

    A model that Forge samples so already is left to it, and a table that Forge rescales by itself too.
    """

    def __init__(self, model: Any, checkpoint: str, kind: ModelKind) -> None:
        require_v_possible(model)
        self.checkpoint, self.kind, self.host_kind = checkpoint, kind, host_kind(model)
        self._predictor = model.predictor
        self._own = self._predictor.sigmas.detach().clone()
        self._rescaled = kind.zero_terminal_snr and not kind.host_rescales
        self._type = InstanceAttribute(self._predictor, "prediction_type", TYPES[kind.name])
        with undone_on_failure(self.detach):
            self.assert_in_place()

    def assert_in_place(self) -> None:
        """Rescale the table, unless it is rescaled."""
        if self._rescaled and not has_zero_terminal_snr(_alpha_bars(self._predictor.sigmas)):
            alpha_bars = with_zero_terminal_snr(_alpha_bars(self._own))
            self._set(((1 - alpha_bars) / alpha_bars) ** 0.5)

    def detach(self) -> None:
        """Restore everything; may be called again."""
        if self._rescaled and has_zero_terminal_snr(_alpha_bars(self._predictor.sigmas)):
            self._set(self._own)
        self._rescaled = False
        self._type.restore()

    def _set(self, sigmas: Tensor) -> None:
        """Set the table, on the device on which it is."""
        self._predictor.set_sigmas(sigmas.to(self._predictor.sigmas.device, torch.float32))


def _alpha_bars(sigmas: Tensor) -> Tensor:
    return 1 / (sigmas.cpu().double() ** 2 + 1)


def require_v_possible(model: Any) -> None:
    """Raise :class:`UnsupportedError` if Forge's model can't be used as a v or a noise-predicting model."""
    predictor = model.predictor
    if getattr(predictor, "prediction_type", NOISE_PREDICTING[0]) not in NOISE_PREDICTING:
        raise no_v("this is a flow model that the WebUI recognises by itself")
    if not hasattr(predictor, "set_sigmas") or not hasattr(predictor, "sigmas"):
        raise no_v("this model has no noise table")


def require_flow_possible(model: Any) -> None:
    """Raise :class:`UnsupportedError` if Forge's model can't be used as a flow model."""
    predictor, unet = model.predictor, model.diffusion_model
    if getattr(predictor, "prediction_type", "epsilon") not in NOISE_PREDICTING:
        raise no_flow("this is a flow model that the WebUI already samples as one")
    if len(getattr(predictor, "sigmas", ())) != len(time_table(1.0)) or not hasattr(unet, "input_blocks"):
        raise no_flow("this is not a Stable Diffusion UNet with a noise table")
    config = getattr(unet, "config", None) or {}
    if config.get("in_channels") == INPAINTING_CHANNELS:
        raise no_flow(INPAINTING)


@torch.no_grad()
def ask_forge(
    model: Any,
    prepare: Callable[[Any, Tensor], None],
    cleanup: Callable[[Any], None],
    watch: Watch = lambda call, most: None,
) -> Recognition:
    """Return what a model of Forge or reForge predicts.

    :param prepare: the host's ``sampling_prepare``, which moves a UNet's weights to the device
    :param cleanup: the host's ``sampling_cleanup``
    :param watch: called before each call of the UNet; what it raises ends the detection
    """
    cond = model.get_learned_conditioning([""])
    parts = {"context": cond["crossattn"], "y": cond["vector"]} if isinstance(cond, dict) else {"context": cond}
    patcher = model.forge_objects.unet
    unet, dtype = patcher.model.diffusion_model, _dtype_of(patcher.model)
    prepare(patcher, torch.zeros(IMAGES, *LATENT))

    def predict(x: Tensor, times: Tensor) -> Tensor:
        conds = {name: part.to(x.device, dtype).expand(len(x), *part.shape[1:]) for name, part in parts.items()}
        return unet(x.to(dtype), times.float(), control=None, transformer_options={}, **conds)

    try:
        return recognise(predict, device=patcher.load_device, watch=watch)
    finally:
        cleanup(patcher)


def _dtype_of(model: Any) -> torch.dtype:
    """Return the type in which the UNet computes; reForge gives that of its weights, unless it casts them."""
    own = getattr(model, "computation_dtype", None)
    return own or model.manual_cast_dtype or model.get_dtype()
