"""A small stand-in for the sampling of Forge, written from what that WebUI was observed to do.

Samplers and jobs are those of the stand-in for A1111; the denoiser, the model and its options are Forge's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lib_sdfm.hosts.cross_attention import TextHost
from lib_sdfm.hosts.forge.run_pass import ForgePass
from lib_sdfm.sampling.plan import Plan
from tests.hosts.fake_a1111 import (
    SAMPLERS,
    Conds,
    Host,
    Processing,
    Sampler,
    get_learned_conditioning,
    rescaled_table,
    rows_of,
)
from tests.hosts.forge_unet import ForgeUnet
from tests.hosts.variety import Variety, joined, rows_from
from tests.support import stable_diffusion_alphas


class Predictor(nn.Module):
    """Forge's noise table, and what the model predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.prediction_type = "epsilon"
        alphas = stable_diffusion_alphas()
        self.register_buffer("sigmas", ((1 - alphas) / alphas) ** 0.5)

    def set_sigmas(self, sigmas: Tensor) -> None:
        self.register_buffer("sigmas", sigmas.float())

    def timestep(self, sigma: Tensor) -> Tensor:
        return (sigma.log() - self.sigmas.log()[:, None]).abs().argmin(0)


class UnetPatcher:
    """The object that Forge patches: a model with options, which a clone copies deeply."""

    def __init__(self, model: nn.Module, options: dict | None = None) -> None:
        self.model = model
        self.model_options = options if options is not None else {"transformer_options": {}}

    def clone(self) -> UnetPatcher:
        return UnetPatcher(self.model, copy.deepcopy(self.model_options))


class KModel(nn.Module):
    """The UNet as a denoiser of k-diffusion's latents."""

    def __init__(self, unet: nn.Module, variety: Variety) -> None:
        super().__init__()
        self.variety = variety
        self.diffusion_model, self.predictor = variety.prepare(ForgeUnet(unet)), Predictor()
        with variety.running():
            self.predictor.sigmas = variety.placed(self.predictor.sigmas)
        self.calls: list[int] = []
        self.before_call: Callable[[int], None] = lambda number: None
        self.quantizes: Callable[[], bool] = lambda: False

    def apply_model(
        self, x: Tensor, sigma: Tensor, c_crossattn: Tensor, transformer_options: dict, y: Tensor | None = None
    ) -> Tensor:
        self.before_call(len(self.calls))
        self.calls.append(len(x))
        if not isinstance(self.predictor, Predictor):
            xc, timestep = self.predictor.calculate_input(sigma, x), self.predictor.timestep(sigma)
            output = self._unet(xc, timestep, c_crossattn, transformer_options, y)
            return self.predictor.calculate_denoised(sigma, output, x)
        level = sigma.view(-1, 1, 1, 1)
        timestep = self.timestep(sigma)
        scale = (level**2 + 1) ** -0.5
        output = self._unet(x * scale, timestep, c_crossattn, transformer_options, y) * level
        return x * scale**2 - output * scale if self.predictor.prediction_type == "v_prediction" else x - output

    def _unet(self, x: Tensor, timestep: Tensor, context: Tensor, options: dict, y: Tensor | None) -> Tensor:
        conds = {"context": context, "y": y, "transformer_options": options}
        return self.variety.call(self.diffusion_model, x, timestep, **conds)

    def timestep(self, sigma: Tensor) -> Tensor:
        """Between the table's entries, as A1111's, so that the two can be compared; or the nearest one."""
        if self.quantizes():
            return self.predictor.timestep(sigma)
        table = self.predictor.sigmas.log()
        high = torch.searchsorted(table, sigma.log().contiguous()).clamp(1, len(table) - 1)
        share = (sigma.log() - table[high - 1]) / (table[high] - table[high - 1])
        return high - 1 + share.clamp(0, 1)


class Engine(nn.Module):
    """The loaded checkpoint."""

    def __init__(self, unet: nn.Module, variety: Variety = Variety()) -> None:
        super().__init__()
        self.variety = variety
        self.is_sdxl = variety.sdxl
        self.unet = unet
        self.kmodel = KModel(unet, variety)
        self.first_unet = UnetPatcher(self.kmodel)
        self.sd_checkpoint_info = SimpleNamespace(sha256=None, name="first")
        self.reset()

    @property
    def alphas_cumprod(self) -> Tensor:
        """The noise table, as timestep samplers have it."""
        predictor = self.kmodel.predictor
        return 1 / (predictor.sigmas**2 + 1) if isinstance(predictor, Predictor) else predictor.alphas_cumprod

    @property
    def before_call(self) -> Callable[[int], None]:
        return self.kmodel.before_call

    @before_call.setter
    def before_call(self, function: Callable[[int], None]) -> None:
        self.kmodel.before_call = function

    def reset(self) -> None:
        """Forge's objects as loaded, without anybody's patches: before each sampling."""
        self.forge_objects = SimpleNamespace(unet=self.first_unet)

    @property
    def calls(self) -> list[int]:
        return self.kmodel.calls


def calc_cond_uncond_batch(
    model: KModel, cond: list[dict], uncond: list[dict] | None, x: Tensor, sigma: Tensor, options: dict
) -> tuple[Tensor, Tensor]:
    """Denoised images of cond (the mean of what AND joins, by weight) and uncond; uncond first, zeros where there is none."""
    parts = [(1, part) for part in uncond or ()] + [(0, part) for part in reversed(cond)]
    batches = [parts] if options.get("together", True) and len({p["text"].shape[1] for _, p in parts}) == 1 else None
    sums = {0: torch.zeros_like(x), 1: torch.zeros_like(x)}
    for batch in batches or [[part] for part in parts]:
        kinds, text = [kind for kind, _ in batch], joined([part["text"] for _, part in batch])
        vector = {"y": text["vector"]} if isinstance(text, dict) else {}
        c = {
            "c_crossattn": text["crossattn"] if isinstance(text, dict) else text,
            **vector,
            "transformer_options": {**options["transformer_options"], **_marks(kinds, sigma)},
        }
        inputs = {"input": torch.cat([x] * len(batch)), "timestep": torch.cat([sigma] * len(batch)), "c": c}
        call = options.get("model_function_wrapper", lambda apply, args: apply(args["input"], args["timestep"], **args["c"]))
        for (kind, part), output in zip(batch, call(model.apply_model, inputs).chunk(len(batch))):
            sums[kind] += output * part.get("strength", 1.0)
    return sums[0] / sum(part["strength"] for part in cond), sums[1]


def _marks(kinds: list[int], sigma: Tensor) -> dict[str, Any]:
    """Return the options that tell the rows of a call: ``sigmas`` has one per image, ``cond_mark`` one per row."""
    rows = [kind for kind in kinds for _ in range(len(sigma))]
    return {
        "cond_or_uncond": kinds,
        "sigmas": sigma,
        "cond_mark": torch.tensor(rows).to(sigma),
        "cond_indices": [row for row, kind in enumerate(rows) if kind == 0],
        "uncond_indices": [row for row, kind in enumerate(rows) if kind == 1],
    }


def sampling_function(
    host: ForgeHost, params: Any, scale: float, conds_list: list, samplers_own: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Guided and uncond denoised images, with the functions of the UNet's options called where Forge calls them.

    :param samplers_own: options that a sampler adds behind those of the UNet (Forge Neo)
    """
    unet = params.denoiser.inner_model.inner_model.forge_objects.unet
    model, options, x, sigma = unet.model, unet.model_options, params.x, params.sigma
    lists = {name: [*options.get(name, ()), *own] for name, own in samplers_own.items() if isinstance(own, list)}
    options = {**options, **samplers_own, **lists}
    cond = [
        {"text": rows_from(params.text_cond, [row for row, _ in rows]), "strength": rows[-1][1]}
        for rows in map(list, zip(*conds_list))
    ]
    uncond = None if params.text_uncond is None else [{"text": params.text_uncond}]
    for modify in options.get("conditioning_modifiers", ()):
        model, x, sigma, uncond, cond, scale, options, _ = modify(model, x, sigma, uncond, cond, scale, options, 0)
    strength = sum(part["strength"] for part in cond)
    skipped = math.isclose(scale, 1.0) and not options.get("disable_cfg1_optimization", False)
    options = {**options, "together": host.batch_cond_uncond}
    uncond_wanted = None if skipped else uncond
    for change in options.get("sampler_pre_cfg_function", ()):
        model, cond, uncond_wanted, x, sigma, options = change(model, cond, uncond_wanted, x, sigma, options)
    cond_pred, uncond_pred = calc_cond_uncond_batch(model, cond, uncond_wanted, x, sigma, options)
    args = {"cond_scale": scale, "uncond_denoised": uncond_pred, "cond_denoised": cond_pred, "sigma": sigma, "timestep": sigma,
            "input": x, "model": model, "model_options": options}  # fmt: skip
    if "sampler_cfg_function" in options:
        result = x - options["sampler_cfg_function"]({**args, "cond": x - cond_pred, "uncond": x - uncond_pred})
    else:
        result = uncond_pred + (cond_pred - uncond_pred) * scale * (1 if math.isclose(strength, 1) else strength)
    args = {name: value for name, value in args.items() if name not in ("cond_scale", "timestep")}
    for function in options.get("sampler_post_cfg_function", ()):
        result = function({**args, "denoised": result, "cond": cond, "uncond": uncond})
    return result, uncond_pred


class ForgeDenoiser(nn.Module):
    """Classifier-free guidance around the model, for one sampler: always in x0 and real noise levels."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.sampler, self.host = sampler, sampler.host
        self.model_wrap: Any = None
        self.p: Any = None
        self.step, self.steps, self.total_steps = 0, None, None
        self.need_last_noise_uncond = False
        self.last_noise_uncond: Tensor | None = None
        self.classic_ddim_eps_estimation = sampler.in_timesteps

    @property
    def inner_model(self) -> Any:
        if self.model_wrap is None:
            engine = self.host.sd_model
            predictor = engine.kmodel.predictor
            self.model_wrap = SimpleNamespace(inner_model=engine, sigmas=predictor.sigmas, predictor=predictor)
        return self.model_wrap

    @property
    def alphas(self) -> Tensor:
        return self.host.sd_model.alphas_cumprod

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        cond: Conds,
        uncond: Tensor | None,
        cond_scale: float,
        s_min_uncond: float,
        image_cond: Any,
        model_options: dict[str, Any] | None = None,
    ) -> Tensor:
        host = self.host
        host.raise_if_interrupted()
        if self.classic_ddim_eps_estimation:
            sigma = self._level(sigma)
            x = x * (sigma**2 + 1).sqrt().view(-1, 1, 1, 1)
        if host.refiner is not None and self.step == host.refiner[0]:
            host.sd_model, self.model_wrap = host.refiner[1], None
            self.p.setup_conds()
        conds_list, text = rows_of(cond)
        text, uncond = host.variety.conds(text), None if uncond is None else host.variety.conds(uncond)
        params = SimpleNamespace(
            x=x, image_cond=image_cond, sigma=sigma, sampling_step=host.sampling_step, denoiser=self,
            total_sampling_steps=host.sampling_steps, text_cond=text, text_uncond=uncond,
        )  # fmt: skip
        host.call(host.on_cfg_denoiser, params)
        if self.p.is_hr_pass:
            cond_scale = self.p.hr_cfg
        skips = bool(self.step % 2 and s_min_uncond > 0 and sigma[0] < s_min_uncond)
        denoised = self._denoised(params, cond_scale, conds_list, skips, model_options or {})
        self.sampler.last_latent = denoised
        host.call(host.on_cfg_after_cfg, SimpleNamespace(x=denoised))
        self.step += 1
        return (x - denoised) / sigma.view(-1, 1, 1, 1) if self.classic_ddim_eps_estimation else denoised

    def _level(self, timestep: Tensor) -> Tensor:
        """The noise level of timesteps."""
        return self.host.sd_model.kmodel.predictor.sigmas[timestep.round().long()]

    def _denoised(self, params: Any, scale: float, conds_list: list, skips: bool, options: dict[str, Any]) -> Tensor:
        """The guided prediction; without uncond the scale is 1."""
        denoised, uncond_pred = sampling_function(self.host, params, 1.0 if skips else scale, conds_list, options)
        if self.need_last_noise_uncond:
            self.last_noise_uncond = (params.x - uncond_pred) / params.sigma.view(-1, 1, 1, 1)
        return denoised


@dataclass
class ForgeProcessing(Processing):
    """A job; without uncond in a pass whose CFG scale is 1."""

    hr_cfg: float = 7.0

    def setup_conds(self) -> None:
        super().setup_conds()
        self.uc = None if self.cfg_scale == 1 else self.negatives()

    def _sample_hires(self, samples: Tensor) -> Tensor:
        self.uc = None if self.hr_cfg == 1 else self.negatives()
        return super()._sample_hires(samples)


def sample_heunpp2(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Callable, disable: bool) -> Tensor:
    """Forge's own: up to three calls per step, at the levels of the following steps; the callback after the first."""
    ones, steps = x.new_ones(len(x)), len(sigmas) - 1
    for i in range(steps):
        slopes, ahead = [], x
        for j in range(i, min(i + 3, steps)):
            slopes.append((ahead - model(ahead, sigmas[j] * ones, **extra_args)) / sigmas[j])
            ahead = ahead + slopes[-1] * (sigmas[j + 1] - sigmas[j])
            if j == i:
                callback({"i": i})
        shares = [sigmas[i + j] / (len(slopes) * sigmas[0]) for j in range(1, len(slopes))]
        slope = slopes[0] * (1 - sum(shares)) + sum(share * d for share, d in zip(shares, slopes[1:]))
        x = x + slope * (sigmas[i + 1] - sigmas[i])
    return x


class ForgeHost(Host):
    """Contents of Forge's modules."""

    processing, sampler_functions = ForgeProcessing, {**SAMPLERS, "HeunPP2": (sample_heunpp2, {})}

    def __init__(self, unet: nn.Module, variety: Variety = Variety()) -> None:
        super().__init__(unet, variety)
        self.on_cfg_after_cfg: list[Callable[[Any], None]] = []

    @property
    def diffusion_model(self) -> nn.Module:
        return self.sd_model.kmodel.diffusion_model

    @diffusion_model.setter
    def diffusion_model(self, unet: nn.Module) -> None:
        self.sd_model.kmodel.diffusion_model = unet

    def new_checkpoint(self, unet: nn.Module) -> Engine:
        engine = Engine(unet, self.variety)
        engine.kmodel.quantizes = lambda: self.quantizes
        return engine

    def sample_batch(self, p: Processing) -> Tensor:
        """The samples of one batch; the table is rescaled around them, and restored only if nothing is raised."""
        predictor = self.sd_model.kmodel.predictor
        own = predictor.sigmas
        if self.rescales_table:
            table = rescaled_table(1 / (own**2 + 1))
            predictor.set_sigmas(((1 - table) / table) ** 0.5)
        samples = super().sample_batch(p)
        if self.rescales_table:  # of the predictor that is in place by now
            self.sd_model.kmodel.predictor.set_sigmas(own)
        return samples

    def knows_v(self) -> None:
        self.sd_model.kmodel.predictor.prediction_type = "v_prediction"

    def new_denoiser(self, sampler: Sampler) -> ForgeDenoiser:
        return ForgeDenoiser(sampler)

    def new_pass(self, plan: Plan, p: Processing) -> ForgePass:
        return ForgePass(plan, p, calc_cond_uncond_batch, TextHost(get_learned_conditioning), ways=self.ways)

    def reset_tables(self) -> None:
        """Forge leaves them alone."""

    def before_pass(self, p: Processing) -> None:
        """Before a hires pass Forge tells the scripts twice, and throws away what they patched the first time."""
        if p.is_hr_pass:
            self.script_call(p, "process_before_every_sampling")
        self.sd_model.reset()
        self.script_call(p, "process_before_every_sampling")
