"""A small stand-in for the sampling of AUTOMATIC1111 1.10, written from what that WebUI was observed to do.

Real are the UNet class and k-diffusion's samplers and denoiser; ours are the timestep samplers, as far as the order of
their calls goes. A job goes through :meth:`Host.run`.
"""

from __future__ import annotations

import inspect
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import k_diffusion.external
import k_diffusion.sampling as k
import torch
from torch import Tensor, nn

from lib_sdfm.hosts.a1111.model_outputs import DenoisedCallbacks
from lib_sdfm.hosts.a1111.run_pass import A1111Pass
from lib_sdfm.hosts.cross_attention import TextHost
from lib_sdfm.hosts.run import Ways
from lib_sdfm.hosts.unet_layers import owner_of
from lib_sdfm.sampling.plan import Plan
from tests.hosts.variety import Variety, joined, rows_from
from tests.support import CONTEXT, DEPTH, noise_of, stable_diffusion_alphas

Conds = list[list[tuple[Tensor, float]]]
"""Per image its prompts: conditioning ``(tokens, channels)`` and weight; several where AND joins them."""


class Prompts(list):
    """Conds as the host hands them to its samplers."""

    @property
    def batch(self) -> list[list[SimpleNamespace]]:
        return [[SimpleNamespace(weight=weight) for _, weight in prompts] for prompts in self]


@dataclass(frozen=True)
class ScheduledCond:
    """Conditioning up to a step, from prompt editing: a tensor ``(tokens, channels)``, or SDXL's dictionary."""

    end_at_step: float
    cond: Any


class Interrupted(BaseException):
    """The user's interrupt; no ``Exception``, as in A1111."""


class SdModel(nn.Module):
    """The loaded checkpoint: ``apply_model`` and the noise table."""

    def __init__(self, unet: nn.Module, variety: Variety = Variety()) -> None:
        super().__init__()
        self.variety = variety
        self.model = nn.Module()
        self.model.diffusion_model = variety.prepare(unet)
        self.is_sdxl = variety.sdxl
        with variety.running():
            self.alphas_cumprod = self.alphas_cumprod_original = variety.placed(stable_diffusion_alphas())
        self.parameterization = "eps"
        self.sd_checkpoint_info = SimpleNamespace(sha256=None, name="first")
        self.calls: list[int] = []  # rows of each call
        self.before_call: Callable[[int], None] = lambda number: None

    @property
    def unet(self) -> nn.Module:
        """The diffusion model."""
        return self.model.diffusion_model

    def apply_model(self, x: Tensor, timesteps: Tensor, cond: dict[str, list[Tensor]]) -> Tensor:
        self.before_call(len(self.calls))
        self.calls.append(len(x))
        context = cond["crossattn"] if self.variety.sdxl else cond["c_crossattn"][0]
        conds = {"context": [context] * DEPTH, "y": cond.get("vector")}
        return self.variety.call(self.model.diffusion_model, x, timesteps, **conds)


class TimestepDenoiser(nn.Module):
    """The model of timestep samplers: the noise prediction as it is. Has no ``sigmas``, by which it is told apart."""

    def __init__(self, sd_model: SdModel) -> None:
        super().__init__()
        self.inner_model = sd_model

    def forward(self, x: Tensor, timesteps: Tensor, **kwargs: Any) -> Tensor:
        return self.inner_model.apply_model(x, timesteps, **kwargs)


class TimestepVDenoiser(TimestepDenoiser):
    """The same for a model that the host takes for a v model."""

    def forward(self, x: Tensor, timesteps: Tensor, **kwargs: Any) -> Tensor:
        alpha_bar = self.inner_model.alphas_cumprod[timesteps.int()][:, None, None, None]
        return alpha_bar**0.5 * super().forward(x, timesteps, **kwargs) + (1 - alpha_bar) ** 0.5 * x


class LcmDenoiser(k_diffusion.external.DiscreteEpsDDPMDenoiser):
    """The host's denoiser of LCM, for noise-predicting models: every twentieth entry of the table."""

    def __init__(self, model: SdModel) -> None:
        super().__init__(model, model.alphas_cumprod[19::20].float(), quantize=None)

    def sigma_to_t(self, sigma: Tensor, quantize: bool | None = None) -> Tensor:
        return (sigma.log() - self.log_sigmas[:, None]).abs().argmin(0).view(sigma.shape) * 20 + 19

    def get_eps(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.inner_model.apply_model(*args, **kwargs)


class CFGDenoiser(nn.Module):
    """Classifier-free guidance around the model, for one sampler."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.model_wrap = None
        self.sampler, self.host = sampler, sampler.host
        self.p: Any = None
        self.step, self.steps, self.total_steps = 0, None, None
        self.cond_scale_miltiplier = 1.0
        self.need_last_noise_uncond = False
        self.last_noise_uncond: Tensor | None = None
        if sampler.in_timesteps:
            self.alphas = self.host.sd_model.alphas_cumprod

    @property
    def inner_model(self) -> nn.Module:
        if self.model_wrap is None:
            self.model_wrap = self._new_model_wrap(self.host.sd_model)
        return self.model_wrap

    def _new_model_wrap(self, model: SdModel) -> nn.Module:
        """The denoiser of the sampler's kind, for what the host takes the model for."""
        external, is_v = k_diffusion.external, model.parameterization == "v"
        if self.sampler.in_timesteps:
            return (TimestepVDenoiser if is_v else TimestepDenoiser)(model)
        if self.sampler.config.name == "LCM":
            return LcmDenoiser(model)
        own = getattr(model, "create_denoiser", None)
        if own is not None:
            return own()
        return (external.CompVisVDenoiser if is_v else external.CompVisDenoiser)(model, quantize=self.host.quantizes)

    def combine_denoised(self, x_out: Tensor, conds_list: list, uncond: Tensor, cond_scale: float) -> Tensor:
        unconds = x_out[-uncond.shape[0] :]
        result = unconds.clone()
        for image, conds in enumerate(conds_list):
            for row, weight in conds:
                result[image] += (x_out[row] - unconds[image]) * (weight * cond_scale)
        return result

    def forward(
        self, x: Tensor, sigma: Tensor, cond: Conds, uncond: Tensor, cond_scale: float, s_min_uncond: float, image_cond: Tensor
    ) -> Tensor:
        host, batch = self.host, len(x)
        host.raise_if_interrupted()
        if host.refiner is not None and self.step == host.refiner[0]:
            host.sd_model, self.model_wrap = host.refiner[1], None
            self.p.setup_conds()
        conds_list, text = rows_of(cond)
        text, uncond = host.variety.conds(text), host.variety.conds(uncond)
        image_of_row = [image for image, conds in enumerate(conds_list) for _ in conds] + list(range(batch))
        params = SimpleNamespace(
            x=picked(x, image_of_row), image_cond=picked(image_cond, image_of_row), sigma=picked(sigma, image_of_row),
            sampling_step=host.sampling_step, total_sampling_steps=host.sampling_steps, text_cond=text, text_uncond=uncond,
            denoiser=self,
        )  # fmt: skip
        host.call(host.on_cfg_denoiser, params)
        skip_uncond = bool(self.step % 2 and s_min_uncond > 0 and sigma[0] < s_min_uncond)
        x_out = self._predict(params, skip_uncond, batch)
        first_rows = [conds[0][0] for conds in conds_list]
        if skip_uncond:
            x_out = torch.cat([x_out, picked(x_out, first_rows)])
        host.call_denoised(x_out, self.inner_model)
        if self.need_last_noise_uncond:
            self.last_noise_uncond = x_out[-batch:].clone()
        scale = 1.0 if skip_uncond else cond_scale * self.cond_scale_miltiplier
        denoised = self.combine_denoised(x_out, conds_list, uncond, scale)
        self.sampler.last_latent = picked(x_out, first_rows)
        self.step += 1
        return denoised

    def _predict(self, params: Any, skip_uncond: bool, batch: int) -> Tensor:
        """The model's answer for all rows, in the portions that the host makes."""
        x, sigma, image_cond = params.x, params.sigma, params.image_cond
        if skip_uncond:  # the image conditioning stays whole
            x, sigma = x[:-batch], sigma[:-batch]
        same_length = params.text_cond.shape[1] == params.text_uncond.shape[1]
        together = self.host.batch_cond_uncond
        if skip_uncond or same_length:
            text = params.text_cond if skip_uncond else joined([params.text_cond, params.text_uncond])
            if together:
                return self._call(x, sigma, text, image_cond)
            cuts = [slice(i, i + batch) for i in range(0, len(x), batch)]
            return torch.cat([self._call(x[cut], sigma[cut], rows_from(text, cut), image_cond[cut]) for cut in cuts])
        portion, rows = batch * 2 if together else batch, params.text_cond.shape[0]
        cuts = [slice(i, min(i + portion, rows)) for i in range(0, rows, portion)]
        outputs = [self._call(x[cut], sigma[cut], rows_from(params.text_cond, cut), image_cond[cut]) for cut in cuts]
        return torch.cat([*outputs, self._call(x[-batch:], sigma[-batch:], params.text_uncond, image_cond[-batch:])])

    def _call(self, x: Tensor, sigma: Tensor, text: Any, image_cond: Tensor) -> Tensor:
        conds = text if isinstance(text, dict) else {"c_crossattn": [text]}
        return self.inner_model(x, sigma, cond={**conds, "c_concat": [image_cond]})


def rescaled_table(table: Tensor) -> Tensor:
    """A noise table rescaled as the host's option does it, in the table's own precision."""
    roots = table.sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return torch.cat([roots[:-1] ** 2, roots.new_tensor([4.8973451890853435e-08])])


def picked(value: Tensor, rows: list[int]) -> Tensor:
    """Some rows of a tensor, cut one by one as the host does: a list as index would be copied to a GPU, which waits for it."""
    return torch.cat([value[row : row + 1] for row in rows])


def rows_of(cond: Conds) -> tuple[list[list[tuple[int, float]]], Tensor]:
    """The host's form of conditioning: (row, weight) per image, and the rows stacked image by image."""
    conds_list: list[list[tuple[int, float]]] = []
    texts: list[Tensor] = []
    for prompts in cond:
        conds_list.append([(len(texts) + i, weight) for i, (_, weight) in enumerate(prompts)])
        texts += [text for text, _ in prompts]
    return conds_list, torch.stack(texts)


class Sampler:
    """One sampler of either kind, with its denoiser."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.func, options = host.sampler_functions[name]
        calls_per_step = 2 if options.get("second_order") else 1
        self.config = SimpleNamespace(name=name, options=options, total_steps=lambda steps: steps * calls_per_step)
        self.in_timesteps = "timesteps" in inspect.signature(self.func).parameters
        self.model_wrap_cfg = host.new_denoiser(self)
        self.model_wrap = self.model_wrap_cfg.inner_model
        self.last_latent: Tensor | None = None
        self.sampler_extra_args: dict[str, Any] | None = None
        host.samplers.append(self)

    def get_sigmas(self, steps: int) -> Tensor:
        discard = self.config.options.get("discard_next_to_last_sigma", False)
        sigmas = k.get_sigmas_karras(steps + discard, float(self.model_wrap.sigmas[0]), float(self.model_wrap.sigmas[-1]))
        return torch.cat([sigmas[:-2], sigmas[-1:]]) if discard else sigmas

    def get_timesteps(self, steps: int) -> Tensor:
        return torch.clip(torch.arange(0, 1000, 1000 // steps) + 1, 0, 999)

    def sample(self, p: Processing, x: Tensor) -> Tensor:
        if self.in_timesteps:
            return self._launch(p, x, timesteps=asked(self.get_timesteps, p))
        sigmas = asked(self.get_sigmas, p)
        return self._launch(p, self.host.noised(torch.zeros_like(x), x, sigmas[0]), sigmas=sigmas)

    def sample_img2img(self, p: Processing, x: Tensor, noise: Tensor) -> Tensor:
        kept = max(int(p.steps * p.denoising_strength), 1)
        if self.in_timesteps:
            timesteps = asked(self.get_timesteps, p)[: kept + 1]
            alpha = self.model_wrap_cfg.alphas[timesteps[-1]]
            return self._launch(p, x * alpha**0.5 + noise * (1 - alpha) ** 0.5, timesteps=timesteps)
        sigmas = asked(self.get_sigmas, p)[-kept - 1 :]
        return self._launch(p, self.host.noised(x, noise, sigmas[0]), sigmas=sigmas)

    def _launch(self, p: Processing, x: Tensor, **schedule: Tensor) -> Tensor:
        denoiser = self.model_wrap_cfg
        denoiser.p, denoiser.step, denoiser.steps = p, 0, p.steps
        denoiser.total_steps = self.config.total_steps(p.steps)
        self.sampler_extra_args = {
            "cond": p.c, "uncond": p.uc, "cond_scale": p.cfg_scale, "s_min_uncond": p.s_min_uncond,
            "image_cond": x.new_zeros(len(x), 5, 1, 1),
        }  # fmt: skip
        self.host.sampling_step, self.host.sampling_steps = 0, p.steps
        wanted = inspect.signature(self.func).parameters
        offered = {**schedule, "n": p.steps, "noise_sampler": p.noise_sampler(x)}
        if not self.in_timesteps:
            offered.update(sigma_min=float(self.model_wrap.sigmas[0]), sigma_max=float(self.model_wrap.sigmas[-1]))
        given = {name: value for name, value in offered.items() if name in wanted}
        self.last_latent = x
        try:
            return self.func(
                denoiser, x, extra_args=self.sampler_extra_args, disable=True, callback=self.callback_state, **given
            )
        except Interrupted:
            return self.last_latent

    def callback_state(self, info: dict[str, Any]) -> None:
        self.host.callbacks.append(info["i"])
        self.host.sampling_step = info["i"]


def _ddim_step(x: Tensor, eps: Tensor, renoise: Tensor, alpha: Tensor, alpha_next: Tensor) -> Tensor:
    denoised = (x - (1 - alpha) ** 0.5 * eps) / alpha**0.5
    return alpha_next**0.5 * denoised + (1 - alpha_next) ** 0.5 * renoise


def asked(schedule: Callable[..., Tensor], p: Processing) -> Tensor:
    """A schedule for a job's steps; where it isn't one of this file it is the host's kind, which also gets the job."""
    return schedule(*(p, p.steps)[-len(inspect.signature(schedule).parameters) :])


def ddim(model: Any, x: Tensor, timesteps: Tensor, extra_args: dict, callback: Callable, disable: bool) -> Tensor:
    alphas = model.inner_model.inner_model.alphas_cumprod
    ones = x.new_ones(len(x))
    for i, index in enumerate(range(len(timesteps) - 1, 0, -1)):
        eps = model(x, timesteps[index].item() * ones, **extra_args)
        renoise = model.last_noise_uncond if model.need_last_noise_uncond else eps
        x = _ddim_step(x, eps, renoise, alphas[timesteps[index]], alphas[timesteps[index - 1]])
        callback({"i": i})
    return x


def ddim_cfgpp(model: Any, x: Tensor, timesteps: Tensor, extra_args: dict, callback: Callable, disable: bool) -> Tensor:
    model.cond_scale_miltiplier, model.need_last_noise_uncond = 1 / 12.5, True
    return ddim(model, x, timesteps, extra_args, callback, disable)


def plms(model: Any, x: Tensor, timesteps: Tensor, extra_args: dict, callback: Callable, disable: bool) -> Tensor:
    """Two calls in the first step, then one; the callback ends each step."""
    alphas = model.inner_model.inner_model.alphas_cumprod
    ones, before = x.new_ones(len(x)), None
    for i, index in enumerate(range(len(timesteps) - 1, 0, -1)):
        now, later = timesteps[index], timesteps[index - 1]
        eps = model(x, now.item() * ones, **extra_args)
        if before is None:
            ahead = _ddim_step(x, eps, eps, alphas[now], alphas[later])
            mixed = (eps + model(ahead, later.item() * ones, **extra_args)) / 2
        else:
            mixed = (3 * eps - before) / 2
        x, before = _ddim_step(x, mixed, mixed, alphas[now], alphas[later]), eps
        callback({"i": i})
    return x


def unipc(model: Any, x: Tensor, timesteps: Tensor, extra_args: dict, callback: Callable, disable: bool) -> Tensor:
    """As many calls as timesteps: one before the first step, one in each step but the last; the callback ends each step."""
    alphas = model.inner_model.inner_model.alphas_cumprod
    ones = x.new_ones(len(x))
    grid = torch.linspace(999, 0, len(timesteps) + 1).round().int().tolist()
    eps = model(x, grid[0] * ones, **extra_args)
    for i, (now, later) in enumerate(zip(grid, grid[1:])):
        x = _ddim_step(x, eps, eps, alphas[now], alphas[later])
        if i + 2 < len(grid):
            eps = model(x, later * ones, **extra_args)
        callback({"i": i})
    return x


def sample_lcm(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Callable, disable: bool) -> Tensor:
    """Denoises and adds noise again, the model's own noise here."""
    noise = torch.Generator().manual_seed(5)
    for i, sigma in enumerate(sigmas[:-1]):
        x = model(x, sigma * x.new_ones(len(x)), **extra_args)
        if sigmas[i + 1] > 0:
            x = x + sigmas[i + 1] * torch.randn(x.shape, generator=noise).to(x)
        callback({"i": i})
    return x


SAMPLERS: dict[str, tuple[Callable[..., Tensor], dict[str, bool]]] = {
    "Euler": (k.sample_euler, {}),
    "Euler a": (k.sample_euler_ancestral, {}),
    "Heun": (k.sample_heun, {"second_order": True}),
    "DPM2": (k.sample_dpm_2, {"second_order": True, "discard_next_to_last_sigma": True}),
    "DPM++ 2M": (k.sample_dpmpp_2m, {}),
    "DPM++ 2S a": (k.sample_dpmpp_2s_ancestral, {"second_order": True}),
    "DPM++ SDE": (k.sample_dpmpp_sde, {"second_order": True}),
    "LMS": (k.sample_lms, {}),
    "LCM": (sample_lcm, {}),
    "DPM fast": (k.sample_dpm_fast, {}),
    "DPM adaptive": (k.sample_dpm_adaptive, {}),
    "DDIM": (ddim, {}),
    "DDIM CFG++": (ddim_cfgpp, {}),
    "PLMS": (plms, {}),
    "UniPC": (unipc, {}),
}


@dataclass
class Processing:
    """A txt2img or img2img job: with ``init_latent`` img2img, with ``enable_hr`` a second pass of twice the size."""

    host: Host
    scripts: Any = None
    script_args: Sequence[Any] = ()
    sampler_name: str = "Euler"
    scheduler: str = "Automatic"
    hr_scheduler: str | None = None
    steps: int = 3
    cfg_scale: float = 7.0
    width: int = 64
    height: int = 64
    batch_size: int = 1
    n_iter: int = 1
    seed: int = 1
    s_min_uncond: float = 0.0
    denoising_strength: float = 0.7
    enable_hr: bool = False
    init_latent: Tensor | None = None
    conds: Conds | None = None
    unconds: Tensor | None = None
    negative_prompts: list[str] | None = None
    c: Conds | None = None
    uc: Tensor | None = None
    is_api: bool = True
    is_hr_pass: bool = False
    firstpass_steps: int = 0
    hr_second_pass_steps: int = 0
    sampler: Sampler | None = None
    iteration: int = 0
    extra_network_data = hr_extra_network_data = None
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    _scheduled: tuple[Tensor, list[list[ScheduledCond]]] | None = None
    comments: list[str] = field(default_factory=list)

    @property
    def sd_model(self) -> SdModel:
        return self.host.sd_model

    def comment(self, text: str) -> None:
        self.comments.append(text)

    def init(self) -> None:
        if self.init_latent is not None:
            self.sampler = Sampler(self.host, self.sampler_name)

    @property
    def seeds(self) -> list[int]:
        first = self.seed + self.iteration * self.batch_size
        return list(range(first, first + self.batch_size))

    def noise(self, *size: int) -> Tensor:
        return self.host.variety.placed(torch.stack([noise_of(seed, 4, *size) for seed in self.seeds]))

    def noise_sampler(self, x: Tensor) -> Callable[[Any, Any], Tensor]:
        generators = [torch.Generator().manual_seed(seed + 1000) for seed in self.seeds]
        placed = self.host.variety.placed
        return lambda *sigmas: placed(torch.stack([torch.randn(x.shape[1:], generator=g) for g in generators]))

    @property
    def hr_negative_prompts(self) -> list[str]:
        return self.negative_prompts

    def get_conds(self) -> tuple[Conds, list[list[ScheduledCond]] | None]:
        """Prompts, and the schedule of each negative prompt: the same objects until the prompts are encoded again."""
        if self.uc is None:
            return self.c, None
        if self._scheduled is None or self._scheduled[0] is not self.uc:
            rows = [self.host.variety.conds(row[None]) for row in self.uc]
            self._scheduled = self.uc, [[ScheduledCond(math.inf, rows_from(row, 0))] for row in rows]
        return self.c, self._scheduled[1]

    def get_conds_with_caching(
        self,
        function: Callable[..., Any],
        prompts: Any,
        steps: int,
        caches: Any,
        extra_network_data: Any,
        hires_steps: Any = None,
    ) -> Any:
        return function(self.sd_model, prompts, steps, hires_steps)

    def setup_conds(self) -> None:
        """One prompt per image, of the length of the negative one, unless the job brings other conds."""
        self.firstpass_steps = self.steps
        self.negative_prompts = self.negative_prompts or [NEGATIVE] * self.batch_size
        self.c = Prompts(self.conds or [[(prompt(seed), 1.0)] for seed in self.seeds])
        self.uc = self.negatives()

    def negatives(self) -> Tensor:
        """The conditioning of the negative prompts, one per image."""
        return torch.stack([prompt(0)] * self.batch_size) if self.unconds is None else self.unconds

    def sample(self, conditioning: Any = None, unconditional_conditioning: Any = None, seeds: Any = None) -> Tensor:
        size = (self.height // 8, self.width // 8)
        if self.init_latent is not None:
            self.host.before_pass(self)
            return self.sampler.sample_img2img(self, self.host.variety.placed(self.init_latent), self.noise(*size))
        self.sampler = Sampler(self.host, self.sampler_name)
        self.host.before_pass(self)
        samples = self.sampler.sample(self, self.noise(*size))
        return self._sample_hires(samples) if self.enable_hr else samples

    def _sample_hires(self, samples: Tensor) -> Tensor:
        self.is_hr_pass = True
        self.sampler = Sampler(self.host, self.sampler_name)
        samples = nn.functional.interpolate(samples, scale_factor=2)
        self.host.before_pass(self)
        samples = self.sampler.sample_img2img(self, samples, self.noise(*samples.shape[2:]))
        self.sampler = None
        self.is_hr_pass = False
        return samples


TOKENS, CHUNK = 3, 75
"""Rows of conditioning, and characters, of each part of a long text."""


def prompt(seed: int, tokens: int = TOKENS) -> Tensor:
    """The conditioning of a prompt, ``(tokens, channels)``."""
    return noise_of(100 + seed, tokens, CONTEXT)


NEGATIVE = "the usual negative prompt"
"""The text that :func:`encoded` gives the conditioning of the first prompt."""


def encoded(text: str, checkpoint: str = "first") -> Tensor:
    """The conditioning of a text, ``(tokens, channels)``, longer for long ones; other checkpoints have other encoders."""
    usual = (text, checkpoint) == (NEGATIVE, "first")
    return prompt(0 if usual else zlib.crc32(f"{checkpoint} {text}".encode()), TOKENS * (1 + len(text) // CHUNK))


def get_learned_conditioning(
    model: Any, texts: Sequence[str], steps: int, hires_steps: int | None = None
) -> list[list[ScheduledCond]]:
    """The host's encoder, without prompt editing."""
    rows = [model.variety.conds(encoded(text, model.sd_checkpoint_info.name)[None]) for text in texts]
    return [[ScheduledCond(math.inf, rows_from(row, 0))] for row in rows]


class Host:
    """Contents of A1111's modules: the checkpoint, options, state and callbacks."""

    processing, sampler_functions = Processing, SAMPLERS

    def __init__(self, unet: nn.Module, variety: Variety = Variety()) -> None:
        self.variety = variety
        self.sd_model = self.new_checkpoint(unet)
        self.batch_cond_uncond = True
        self.refiner: tuple[int, SdModel] | None = None  # denoiser call at which it takes over, and its checkpoint
        self.interrupt_at: int | None = None  # model calls after which the user presses "Interrupt"
        self.quantizes = False  # the option "Enable quantization in K samplers"
        self.rescales_table = False  # the option "Noise schedule for sampling: Zero Terminal SNR"
        self.sampling_step = self.sampling_steps = 0
        self.on_cfg_denoiser: list[Callable[[Any], None]] = []
        self.on_cfg_denoised: list[Callable[[Any], None]] = []
        self.samplers: list[Sampler] = []
        self.callbacks: list[int] = []  # every callback of a sampler function
        self.swallowed: list[Exception] = []
        self.ways = Ways()

    @property
    def unet(self) -> nn.Module:
        """The LDM UNet of the loaded checkpoint."""
        return self.sd_model.unet

    @property
    def diffusion_model(self) -> nn.Module:
        """The UNet that this host calls."""
        return self.sd_model.model.diffusion_model

    @diffusion_model.setter
    def diffusion_model(self, unet: nn.Module) -> None:
        self.sd_model.model.diffusion_model = unet

    def new_checkpoint(self, unet: nn.Module) -> nn.Module:
        """A checkpoint with these weights, as this host has it."""
        return SdModel(unet, self.variety)

    def knows_v(self) -> None:
        """The host takes the checkpoint for a v model."""
        self.sd_model.parameterization = "v"

    def new_denoiser(self, sampler: Sampler) -> nn.Module:
        """The CFG denoiser of a sampler."""
        return CFGDenoiser(sampler)

    def noised(self, image: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """A latent at a level of noise."""
        return image + noise * sigma

    def before_pass(self, p: Processing) -> None:
        """Tells the scripts that a pass begins."""
        self.script_call(p, "process_before_every_sampling")

    def new_pass(self, plan: Plan, p: Processing) -> A1111Pass:
        """SDFM's adapter for this host."""
        callbacks = DenoisedCallbacks(self.denoised_by, self.call_denoised)
        return A1111Pass(plan, p, TextHost(get_learned_conditioning), self.ways, callbacks)

    def denoised_by(self) -> tuple[str, ...]:
        """Whose the callbacks between model and CFG are."""
        return tuple(sorted({owner_of(callback) for callback in self.on_cfg_denoised}))

    def call_denoised(self, outputs: Tensor, model: nn.Module) -> None:
        """Calls them: they change the outputs in place."""
        params = SimpleNamespace(
            x=outputs, sampling_step=self.sampling_step, total_sampling_steps=self.sampling_steps, inner_model=model
        )
        self.call(self.on_cfg_denoised, params)

    def reset_tables(self) -> None:
        """Prepare the noise table as the host does before each picture."""
        table = self.sd_model.alphas_cumprod_original
        self.sd_model.alphas_cumprod = rescaled_table(table) if self.rescales_table else table

    def call(self, functions: Sequence[Callable[..., None]], *args: Any) -> None:
        """Calls extensions as A1111 does: what they raise goes to the console."""
        for function in functions:
            try:
                function(*args)
            except Exception as error:
                self.swallowed.append(error)

    def script_call(self, p: Processing, method: str) -> None:
        self.call([getattr(script, method) for script in p.scripts or ()], p, *p.script_args)

    def raise_if_interrupted(self) -> None:
        if self.interrupt_at is not None and len(self.sd_model.calls) >= self.interrupt_at:
            raise Interrupted

    @torch.no_grad()
    def run(self, p: Processing) -> Tensor:
        """All samples of a job, ``(images, 4, H, W)``."""
        with self.variety.running():
            return self.variety.taken(self._run(p))

    def sample_batch(self, p: Processing) -> Tensor:
        """The samples of one batch."""
        return p.sample(conditioning=p.c, unconditional_conditioning=p.uc, seeds=p.seeds)

    def _run(self, p: Processing) -> Tensor:
        self.sampling_step = 0
        self.script_call(p, "before_process")
        self.call([script.process for script in p.scripts or () if hasattr(script, "process")], p, *p.script_args)
        p.init()
        batches, loaded = [], self.sd_model
        for iteration in range(p.n_iter):
            p.iteration, self.sd_model = iteration, loaded
            self.script_call(p, "process_batch")
            p.setup_conds()
            self.reset_tables()
            batches.append(self.sample_batch(p))
            self.end_batch(p)
        self.end_job(p)
        return torch.cat(batches)

    def end_batch(self, p: Processing) -> None:
        """Tells the scripts that a batch has its pictures, if nothing was raised."""
        self.call([script.postprocess_batch for script in p.scripts or () if hasattr(script, "postprocess_batch")], p)

    def end_job(self, p: Processing) -> None:
        """Tells the scripts that a job has ended; the host does so if nothing was raised."""
        self.call([script.postprocess for script in p.scripts or () if hasattr(script, "postprocess")], p)
