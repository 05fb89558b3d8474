"""A small stand-in for the sampling of reForge, written from what that WebUI was observed to do.

Samplers and jobs are those of the stand-in for A1111, the UNet's patches those of Forge's; the denoiser, the model and its
options are reForge's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import k_diffusion.external
import torch
from torch import Tensor, nn

from lib_sdfm.hosts.cross_attention import TextHost
from lib_sdfm.hosts.reforge.run_pass import ReforgePass
from lib_sdfm.sampling.plan import Plan
from tests.hosts.fake_a1111 import (
    SAMPLERS,
    Host,
    LcmDenoiser,
    Processing,
    Sampler,
    TimestepDenoiser,
    get_learned_conditioning,
    rescaled_table,
)
from tests.hosts.fake_forge import ForgeDenoiser, UnetPatcher
from tests.hosts.reforge_unet import ReforgeUnet
from tests.hosts.variety import Variety, joined, rows_from
from tests.support import stable_diffusion_alphas

POST_CFG = "sampler_post_cfg_function"


class EPS:
    """Prediction of the noise."""

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        return x * (per_image(sigma) ** 2 + 1) ** -0.5

    def calculate_denoised(self, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
        return x - output * per_image(sigma)


class V_PREDICTION(EPS):
    """Prediction of v."""

    def calculate_denoised(self, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
        level = per_image(sigma)
        return x / (level**2 + 1) - output * level * (level**2 + 1) ** -0.5


class CONST:
    """Prediction of a flow model's velocity, in its own time."""

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        return x

    def calculate_denoised(self, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
        return x - output * per_image(sigma)


class ModelSamplingDiscrete(nn.Module):
    """A noise table; times are its nearest entry's, or for comparison with A1111's between two of them."""

    def __init__(self) -> None:
        super().__init__()
        alphas = stable_diffusion_alphas()
        self.set_sigmas(((1 - alphas) / alphas) ** 0.5)
        self.quantizes: Callable[[], bool] = lambda: False

    def set_sigmas(self, sigmas: Tensor) -> None:
        self.register_buffer("sigmas", sigmas.float())
        self.register_buffer("log_sigmas", sigmas.log().float())

    def timestep(self, sigma: Tensor) -> Tensor:
        table = self.log_sigmas
        if self.quantizes():
            return (sigma.log() - table[:, None]).abs().argmin(0)
        high = torch.searchsorted(table, sigma.log().contiguous()).clamp(1, len(table) - 1)
        share = (sigma.log() - table[high - 1]) / (table[high] - table[high - 1])
        return high - 1 + share.clamp(0, 1)


class ModelSampling(ModelSamplingDiscrete, EPS):
    """That of an ordinary checkpoint."""


class ModelSamplingV(ModelSamplingDiscrete, V_PREDICTION):
    """That of a v model."""


def per_image(sigma: Tensor) -> Tensor:
    return sigma.view(-1, 1, 1, 1)


class BaseModel(nn.Module):
    """The UNet as a denoiser of k-diffusion's latents."""

    manual_cast_dtype = None

    def __init__(self, unet: nn.Module, variety: Variety) -> None:
        super().__init__()
        self.variety = variety
        self.diffusion_model, self.model_sampling = variety.prepare(ReforgeUnet(unet)), ModelSampling()
        with variety.running():
            self.model_sampling.set_sigmas(variety.placed(self.model_sampling.sigmas))
        self.calls: list[int] = []
        self.before_call: Callable[[int], None] = lambda number: None

    def apply_model(
        self, x: Tensor, sigma: Tensor, c_crossattn: Tensor, transformer_options: dict, y: Tensor | None = None
    ) -> Tensor:
        self.before_call(len(self.calls))
        self.calls.append(len(x))
        sampling = self.model_sampling
        conds = {"context": c_crossattn, "y": y, "transformer_options": transformer_options}
        times = sampling.timestep(sigma).float()
        output = self.variety.call(self.diffusion_model, sampling.calculate_input(sigma, x), times, **conds)
        return sampling.calculate_denoised(sigma, output, x)


class ReforgePatcher(UnetPatcher):
    """Forge's, with objects of the model that are replaced while it is loaded."""

    def __init__(self, model: nn.Module, options: dict | None = None) -> None:
        super().__init__(model, options)
        self.object_patches: dict[str, Any] = {}
        self.object_patches_backup: dict[str, Any] = {}  # of all clones

    def clone(self) -> ReforgePatcher:
        made = ReforgePatcher(self.model, copy.deepcopy(self.model_options))
        made.object_patches, made.object_patches_backup = dict(self.object_patches), self.object_patches_backup
        return made

    def load(self) -> None:
        """Put the model's own objects back, and this clone's in their places."""
        for name, own in self.object_patches_backup.items():
            setattr(self.model, name, own)
        self.object_patches_backup.clear()
        for name, patch in self.object_patches.items():
            self.object_patches_backup[name] = getattr(self.model, name)
            setattr(self.model, name, patch)


class SdModel(nn.Module):
    """The loaded checkpoint: A1111's, around Forge's objects."""

    def __init__(self, unet: nn.Module, variety: Variety = Variety()) -> None:
        super().__init__()
        self.variety, self.is_sdxl, self.unet = variety, variety.sdxl, unet
        self.base_model = BaseModel(unet, variety)
        with variety.running():
            self.alphas_cumprod = variety.placed(stable_diffusion_alphas())
        self.parameterization = "eps"
        self.sd_checkpoint_info = SimpleNamespace(sha256=None, name="first")
        self.first_unet = ReforgePatcher(self.base_model)
        self.reset()

    @property
    def before_call(self) -> Callable[[int], None]:
        return self.base_model.before_call

    @before_call.setter
    def before_call(self, function: Callable[[int], None]) -> None:
        self.base_model.before_call = function

    @property
    def calls(self) -> list[int]:
        return self.base_model.calls

    def reset(self) -> None:
        """The objects as loaded, without anybody's patches: before each sampling."""
        self.forge_objects = SimpleNamespace(unet=self.first_unet)


def calc_cond_uncond_batch(
    model: BaseModel, cond: list[dict], uncond: list[dict] | None, x: Tensor, sigma: Tensor, options: dict
) -> tuple[Tensor, Tensor]:
    """Denoised images of cond (the mean of what AND joins, by weight) and uncond; uncond first, zeros where there is none."""
    parts = [(1, part) for part in uncond or ()] + [(0, part) for part in reversed(cond)]
    together = options.get("together", True) and len({p["text"].shape[1] for _, p in parts}) == 1
    sums = {0: torch.zeros_like(x), 1: torch.zeros_like(x)}
    for batch in [parts] if together else [[part] for part in parts]:
        text = joined([part["text"] for _, part in batch])
        kinds = [kind for kind, _ in batch]
        transformer = {**copied(options["transformer_options"]), "cond_or_uncond": kinds, "uuids": kinds, "sigmas": sigma}
        c = {"c_crossattn": text, "transformer_options": transformer}
        if isinstance(text, dict):
            c |= {"c_crossattn": text["crossattn"], "y": text["vector"]}
        inputs = {"input": torch.cat([x] * len(batch)), "timestep": torch.cat([sigma] * len(batch)), "c": c}
        call = options.get("model_function_wrapper", lambda apply, args: apply(args["input"], args["timestep"], **args["c"]))
        for (kind, part), output in zip(batch, call(model.apply_model, inputs).chunk(len(batch))):
            sums[kind] += output * part.get("strength", 1.0)
    return sums[0] / sum(part.get("strength", 1.0) for part in cond), sums[1]


def copied(options: Any) -> Any:
    """Dictionaries and lists copied, as the host merges its options."""
    if isinstance(options, dict):
        return {name: copied(value) for name, value in options.items()}
    return list(options) if isinstance(options, list) else options


def sampling_function(
    model: BaseModel, x: Tensor, sigma: Tensor, uncond: list | None, cond: list, scale: float, options: dict
) -> Tensor:
    """The guided denoised images, with the functions of the options called where ComfyUI calls them."""
    if math.isclose(scale, 1.0) and not options.get("disable_cfg1_optimization", False):
        uncond = None
    out = calc_cond_uncond_batch(model, cond, uncond, x, sigma, options)
    args = {"cond_scale": scale, "sigma": sigma, "input": x, "model": model, "model_options": options}
    for function in options.get("sampler_pre_cfg_function", ()):
        out = function({**args, "conds": [cond, uncond], "conds_out": out, "timestep": sigma})
    args |= {"cond_denoised": out[0], "uncond_denoised": out[1]}
    strength = sum(part["strength"] for part in cond)
    if "sampler_cfg_function" in options:
        given = {**args, "cond": x - out[0], "uncond": x - out[1], "timestep": sigma}
        result = x - options["sampler_cfg_function"](given)
    else:
        result = out[1] + (out[0] - out[1]) * scale * (1 if math.isclose(strength, 1) else strength)
    for function in options.get(POST_CFG, ()):
        result = function({**args, "denoised": result, "cond": cond, "uncond": uncond})
    return result


class ReforgeDenoiser(ForgeDenoiser):
    """Classifier-free guidance around the model, for one sampler: always in x0 and real noise levels."""

    @property
    def inner_model(self) -> Any:
        if self.model_wrap is None:
            model, is_lcm = self.host.sd_model, self.sampler.config.name == "LCM"
            if self.sampler.in_timesteps or is_lcm:
                self.model_wrap = (LcmDenoiser if is_lcm else TimestepDenoiser)(model)
            else:
                self.model_wrap = k_diffusion.external.CompVisDenoiser(model, quantize=self.host.quantizes)
        return self.model_wrap

    def _level(self, timestep: Tensor) -> Tensor:
        table = self.inner_model.inner_model.alphas_cumprod
        return (((1 - table) / table) ** 0.5)[timestep.round().long()]

    def _denoised(self, params: Any, scale: float, conds_list: list, skips: bool, options: dict[str, Any]) -> Tensor:
        """The guided prediction, which the host also takes for that without a prompt."""
        denoised = self._guided(params, params.x, scale, conds_list, skips, options)
        if self.need_last_noise_uncond:
            self.last_noise_uncond = torch.zeros_like(denoised) if skips else denoised.clone()
        return denoised

    def _guided(self, params: Any, x: Tensor, scale: float, conds_list: list, skips: bool, given: dict) -> Tensor:
        """The options given by the sampler replace the UNet's; uncond is left out after the modifiers."""
        unet = self.inner_model.inner_model.forge_objects.unet
        model, sigma, options = unet.model, params.sigma, {**unet.model_options, **given}
        cond = [
            {"text": rows_from(params.text_cond, [row for row, _ in rows]), "strength": rows[-1][1]}
            for rows in map(list, zip(*conds_list))
        ]
        uncond = [{"text": params.text_uncond}]
        for modify in options.get("conditioning_modifiers", ()):
            model, x, sigma, uncond, cond, scale, options, _ = modify(model, x, sigma, uncond, cond, scale, options, 0)
        options = {**options, "together": self.host.batch_cond_uncond}
        return sampling_function(model, x, sigma, None if skips else uncond, cond, 1.0 if skips else scale, options)


@dataclass
class ReforgeProcessing(Processing):
    """A job; the hires pass has its own CFG scale."""

    hr_cfg: float = 7.0


def sample_euler_cfg_pp(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Callable, disable: bool) -> Tensor:
    """The host's own: sees the unconditional prediction by options that replace those of the UNet."""
    seen: list[Tensor] = []

    def keep(args: dict[str, Any]) -> Tensor:
        seen.append(args["uncond_denoised"])
        return args["denoised"]

    extra_args["model_options"] = {POST_CFG: [keep], "disable_cfg1_optimization": True}
    for i, (sigma, later) in enumerate(zip(sigmas, sigmas[1:])):
        denoised = model(x, sigma * x.new_ones(len(x)), **extra_args)
        callback({"i": i})
        x = denoised + (x - seen[-1]) / sigma * later
    return x


class ReforgeHost(Host):
    """Contents of reForge's modules."""

    processing = ReforgeProcessing
    on_cfg_after_cfg: tuple[Callable[[Any], None], ...] = ()
    sampler_functions = {
        **SAMPLERS,
        "Euler CFG++": (sample_euler_cfg_pp, {}),
    }

    @property
    def diffusion_model(self) -> nn.Module:
        return self.sd_model.base_model.diffusion_model

    @diffusion_model.setter
    def diffusion_model(self, unet: nn.Module) -> None:
        self.sd_model.base_model.diffusion_model = unet

    def new_checkpoint(self, unet: nn.Module) -> SdModel:
        model = SdModel(unet, self.variety)
        model.base_model.model_sampling.quantizes = lambda: self.quantizes
        return model

    def sample_batch(self, p: Processing) -> Tensor:
        """The samples of one batch; the tables are rescaled around them, and restored only if nothing is raised."""
        model = self.sd_model
        sampling = model.forge_objects.unet.model.model_sampling
        if self.rescales_table:
            model.sigmas_original, model.alphas_cumprod_original = sampling.sigmas, model.alphas_cumprod
            model.alphas_cumprod = rescaled_table(model.alphas_cumprod)
            table = rescaled_table(1 / (sampling.sigmas**2 + 1))
            sampling.set_sigmas(((1 - table) / table) ** 0.5)
        samples = super().sample_batch(p)
        if hasattr(model, "sigmas_original"):  # from now on after each picture
            model.forge_objects.unet.model.model_sampling.set_sigmas(model.sigmas_original)
            model.alphas_cumprod = model.alphas_cumprod_original
        return samples

    options: dict[str, Any] = {}

    def knows_v(self) -> None:
        self.sd_model.base_model.model_sampling = ModelSamplingV()

    def new_denoiser(self, sampler: Sampler) -> ReforgeDenoiser:
        return ReforgeDenoiser(sampler)

    def new_pass(self, plan: Plan, p: Processing) -> ReforgePass:
        return ReforgePass(plan, p, calc_cond_uncond_batch, TextHost(get_learned_conditioning), self.options.get)

    def reset_tables(self) -> None:
        """reForge leaves them alone."""

    def before_pass(self, p: Processing) -> None:
        """Before each pass the scripts are told, once."""
        self.sd_model.reset()
        self.script_call(p, "process_before_every_sampling")
        self.sd_model.forge_objects.unet.load()
