"""Every function of ``ops``, inside autocast and outside, on maps of the sizes and ranges that real UNets have.

A GPU's host calls the UNet, and so everything in it, inside autocast with half weights; what is around the UNet runs in
float32, inside autocast too on some hosts.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import lib_sdfm.ops
from lib_sdfm.ops import (
    blur,
    cfgpp_samplers,
    descent,
    flow,
    flow_probe,
    flow_time,
    freeu,
    frequencies,
    fusion,
    guidance,
    nag,
    projection,
    similarity,
    spaces,
    tokens,
    v_prediction,
)
from lib_sdfm.ops.precision import at_least_float32, outside_autocast
from lib_sdfm.ops.thresholding import AD, MEAN, STD, ZERO, mimic
from tests.support import noise_of, stable_diffusion_alphas

HALVES = [torch.float16, torch.bfloat16]
FEATURES = [(1280, 32, 32), (64, 64, 64), (32, 128, 128), (16, 256, 256), (32, 152, 104), (32, 77, 53)]
"""Channels, height and width of maps: sides as in SDXL's and SD1.5's decoders, odd and large ones; sums are over them."""
MEANS = [0.0, 1.3, 16.0, 64.0]
"""Means of channels; small trained models have up to 12, and 64 overflowed on every map."""
LATENTS = [(32, 32), (128, 128), (152, 104), (256, 256)]


def tokens_of(features: Tensor) -> Tensor:
    """Some channels of a map as attention sees it, ``(rows, tokens, channels)``; attention sees 128 a side at most."""
    return features[:, :16, :128, :128].flatten(2).mT.contiguous()


def blurred(features: Tensor, sigma: float) -> Tensor:
    grid = tuple(min(side, 128) for side in features.shape[-2:])
    taps = tuple(blur.kernel_size(sigma, n) for n in grid)
    seen = tokens_of(features)
    return blur.blur_tokens(seen, *blur.blur_matrices(grid, sigma, taps, seen))


def attended(features: Tensor) -> Tensor:
    seen = tokens_of(features)
    return nag.attention(seen[:, :512], seen[:, :77], seen[:, 1:78], heads=2, upcast=True)


def order_of(seen: Tensor) -> Tensor:
    return tokens.token_order(seen.shape[1], 1, 0, "input.7.2")[None]


def half_window(features: Tensor) -> Tensor:
    return freeu.channel_window(0.0, 0.5, features.shape[1], True)


ON_FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "blur.blur_tokens": lambda x: blurred(x, 4.0),
    "blur.blur_tokens, wide": lambda x: blurred(x, 512.0),
    "blur.blur_matrices": lambda x: blur.blur_matrices((9, 5), 2.0, (5, 5), x)[0],
    "blur.mean_tokens": lambda x: blur.mean_tokens(tokens_of(x)),
    "freeu.scale_backbone": lambda x: freeu.scale_backbone(x, half_window(x), 1.3, "2"),
    "freeu.scale_backbone, version 1": lambda x: freeu.scale_backbone(x, half_window(x), 1.3, "1"),
    "freeu.filter_skip": lambda x: freeu.filter_skip(x, 0.0, 0.6, 1.0),
    "freeu.filter_skip, high end": lambda x: freeu.filter_skip(x, 0.0, 0.2, 1.4),
    "freeu.filter_skip, wide": lambda x: freeu.filter_skip(x, 0.5, 0.9, 1.0),
    "nag.attention, upcast": lambda x: attended(x),  # else it is the host's kind of attention, half inside autocast
    "nag.normalized_guidance": lambda x: nag.normalized_guidance(tokens_of(x), tokens_of(x.flip(1)), 2.0, 2.5, 0.5),
    "tokens.permute_tokens": lambda x: tokens.permute_tokens(tokens_of(x), order_of(tokens_of(x))),
    "precision.at_least_float32": lambda x: at_least_float32(x).to(x.dtype),
}
"""Functions inside the UNet, on its features in whatever type they are."""


class Denoiser:
    """A model for the samplers, with an unconditional prediction."""

    def __call__(self, x: Tensor, sigma: Tensor, **extra: object) -> Tensor:
        self.last_uncond = x / (1 + sigma.view(-1, 1, 1, 1))
        return self.last_uncond * 0.9

    inner_model = None


def sampled(function: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        options = {"noise_sampler": lambda *levels: torch.ones_like(x)}
        wanted = inspect.signature(function).parameters
        sigmas = torch.tensor([14.6, 6.0, 2.0, 0.3, 0.0])
        return function(Denoiser(), x * 14.6, sigmas, **{k: v for k, v in options.items() if k in wanted})

    return run


def thresholded(measure: str, startpoint: str, quantile: float, dims: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        return mimic(x, x.flip(-1), 7.0, 1.0, startpoint=startpoint, measure=measure, quantile=quantile, dims=dims)

    return run


def table_of(x: Tensor) -> Tensor:
    """A noise table of 1000 entries; ``x`` has no part in it."""
    return stable_diffusion_alphas()


def per_row(x: Tensor, value: float) -> Tensor:
    return torch.full((len(x), 1, 1, 1), value)


ON_LATENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "descent.cfgpp_step": lambda x: descent.cfgpp_step(x, x * 0.5, x * 0.4, 0.7),
    "descent.denoised_for_uncond_renoise": lambda x: descent.denoised_for_uncond_renoise(x, x * 0.4, 0.7),
    "flow.shift_time": lambda x: flow.shift_time(x.sigmoid(), 3.0),
    "flow.unshift_time": lambda x: flow.unshift_time(x.sigmoid(), 3.0),
    "flow.time_to_sigma": lambda x: flow.time_to_sigma(x.sigmoid() * 0.99),
    "flow.sigma_to_time": lambda x: flow.sigma_to_time(x.abs()),
    "flow.velocity_to_denoised": lambda x: flow.velocity_to_denoised(x, x.flip(-1), per_row(x, 0.7)),
    "flow.denoised_to_velocity": lambda x: flow.denoised_to_velocity(x, x.flip(-1), per_row(x, 0.7)),
    "flow.velocity_to_noise": lambda x: flow.velocity_to_noise(x, x.flip(-1), per_row(x, 0.7)),
    "flow.noise_to_velocity": lambda x: flow.noise_to_velocity(x, x.flip(-1), per_row(x, 0.7)),
    "flow.exploding_to_flow": lambda x: flow.exploding_to_flow(x * 1e4, per_row(x, 0.9999)),
    "flow.flow_to_exploding": lambda x: flow.flow_to_exploding(x, per_row(x, 0.9999)),
    "flow.preserving_to_flow": lambda x: flow.preserving_to_flow(x, per_row(x, 0.7)),
    "flow.flow_to_preserving": lambda x: flow.flow_to_preserving(x, per_row(x, 0.7)),
    "flow.time_to_alpha_bar": lambda x: flow.time_to_alpha_bar(x.sigmoid()),
    "flow.alpha_bar_to_time": lambda x: flow.alpha_bar_to_time(x.sigmoid()),
    "flow.table_to_time": lambda x: flow.table_to_time(x.sigmoid() * 999, flow.time_table(3.0)).float(),
    "flow_probe.noise_returned": lambda x: torch.tensor([flow_probe.noise_returned(lambda y, times: y * 0.1 + x.abs(), x)]),
    "flow_probe.denoise": lambda x: flow_probe.denoise("flow", lambda y, times: y * 0.1, x, 3.0),
    "flow_time.heun_weighted": sampled(flow_time.heun_weighted),
    "fusion.saliency": fusion.saliency,
    "fusion.fuse_over_pixels": lambda x: fusion.fuse_over_pixels(x, x.flip(-1)),
    "fusion.fuse_over_channels": lambda x: fusion.fuse_over_channels(x, x.flip(-1)),
    "guidance.perturbed_term": lambda x: guidance.perturbed_term(x, x.flip(-1), 3.0),
    "guidance.rescale_term": lambda x: guidance.rescale_term(x.flip(-1), x, x * 7, 0.7),
    "frequencies.shrink": frequencies.shrink,
    "frequencies.enlarge": lambda x: frequencies.enlarge(x, x.shape[-2] * 2 - 1, x.shape[-1] * 2),
    "frequencies.low_frequencies": frequencies.low_frequencies,
    "guidance.positive_biased": lambda x: guidance.positive_biased(x * 7, x, x.flip(-1), 7.0),
    "guidance.signed_root": guidance.signed_root,
    "guidance.scale_noise": lambda x: guidance.scale_noise(x, x.flip(-1) * 1e4, 1.005),
    "projection.inner_product": lambda x: projection.inner_product(x * 1e3, x.flip(-1) * 1e3),
    "projection.project": lambda x: projection.project(x * 1e3, x.flip(-1) * 1e3, 0.3),
    "projection.cap_norm": lambda x: projection.cap_norm(x * 1e3, 15.0),
    "projection.fitted_share": lambda x: projection.fitted_share(x, x.flip(-1)),
    "guidance.rescale_guided": lambda x: guidance.rescale_guided(x * 7, x, x.flip(-1), 3.0, 0.7),
    "similarity.similarity_per_image": lambda x: similarity.similarity_per_image(x * 1e3, x.flip(-1) * 1e3),
    "v_prediction.v_to_eps": lambda x: v_prediction.v_to_eps(x, x.flip(-1), per_row(x, 4518.76)),
    "v_prediction.eps_to_v": lambda x: v_prediction.eps_to_v(x, x.flip(-1), per_row(x, 4518.76)),
    "v_prediction.v_to_denoised": lambda x: v_prediction.v_to_denoised(x, x.flip(-1), per_row(x, 4518.76)),
    "v_prediction.with_zero_terminal_snr": lambda x: v_prediction.with_zero_terminal_snr(table_of(x)),
    "v_prediction.table_to_level": lambda x: v_prediction.table_to_level(x.sigmoid() * 999, table_of(x)),
    "spaces.eps_to_denoised": lambda x: spaces.eps_to_denoised(x, x.flip(-1), 0.3),
    "spaces.denoised_to_eps": lambda x: spaces.denoised_to_eps(x, x.flip(-1), 0.3),
    "spaces.noise_to_denoised": lambda x: spaces.noise_to_denoised(x, x.flip(-1), per_row(x, 3.0)),
    "spaces.denoised_to_noise": lambda x: spaces.denoised_to_noise(x, x.flip(-1), per_row(x, 3.0)),
    "thresholding.mimic": thresholded(AD, MEAN, 1.0, (2, 3)),
    "thresholding.mimic, zero": thresholded(AD, ZERO, 0.995, (1, 2, 3)),
    "thresholding.mimic, deviation": thresholded(STD, MEAN, 1.0, (2, 3)),
    **{
        f"cfgpp_samplers.{name}": sampled(function)
        for name, function in vars(cfgpp_samplers).items()
        if name.startswith("sample_")
    },
}
"""Functions around the UNet, on predictions and latents in float32."""

NO_ARITHMETIC = {
    "flow_time.in_time", "flow_time.two_calls", "flow_time.from_level",  # wrap samplers, which are tested above
    "precision.outside_autocast", "v_prediction.has_zero_terminal_snr",
}  # fmt: skip


def functions_of_ops() -> set[str]:
    found = set()
    for info in pkgutil.iter_modules(lib_sdfm.ops.__path__):
        module = importlib.import_module(f"lib_sdfm.ops.{info.name}")
        for name, function in vars(module).items():
            if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_"):
                told = [str(parameter.annotation) for parameter in inspect.signature(function).parameters.values()]
                if any("Tensor" in kind or "Number" in kind or "Predict" in kind for kind in told):
                    found.add(f"{info.name}.{name}")
    return found


def test_every_function_is_tried():
    tried = {name.split(",")[0] for name in {**ON_FEATURES, **ON_LATENTS}} | NO_ARITHMETIC
    missing = functions_of_ops() - tried - {"flow_probe.recognise"}
    assert not missing, f"try these inside autocast as well, in tests/ops/test_precision.py: {sorted(missing)}"


@pytest.mark.parametrize("autocast", HALVES, ids=str)
@pytest.mark.parametrize("name", ON_LATENTS)
@torch.no_grad()
def test_around_the_unet_autocast_changes_nothing(name: str, autocast: torch.dtype):
    for size in LATENTS:
        latent = noise_of(3, 2, 4, *size)
        outside = ON_LATENTS[name](latent)
        with torch.autocast("cpu", autocast):
            inside = ON_LATENTS[name](latent)
        assert inside.dtype == torch.float32 and inside.isfinite().all()
        assert torch.equal(inside, outside)


@pytest.mark.parametrize("size", FEATURES, ids=str)
@pytest.mark.parametrize("name", ON_FEATURES)
@torch.no_grad()
def test_inside_the_unet_half_features_give_the_same_within_rounding(name: str, size: tuple[int, int, int]):
    """Two means for each size, one in either type: means take turns along sizes, so that either type has all of them."""
    function, number = ON_FEATURES[name], FEATURES.index(size)
    for kind, mean in zip(HALVES, (MEANS[number % 4], MEANS[(number + 2) % 4])):
        features = (noise_of(4, 1, *size) + mean).to(kind)
        wanted = function(features.double())
        with torch.autocast("cpu", kind):
            inside = function(features)
            in_float32 = function(features.float())
        assert inside.dtype == kind and in_float32.dtype == torch.float32
        assert inside.isfinite().all()
        assert torch.equal(inside, function(features))
        largest = float(wanted.abs().amax().clamp(min=1.0))
        steps = 4 if name.startswith(("blur", "nag")) else 2  # these are two products
        assert float((inside.double() - wanted).abs().max()) <= steps * torch.finfo(kind).eps * largest
        assert float((in_float32.double() - wanted).abs().max()) <= 1e-5 * largest


def test_autocast_is_left_only_inside():
    x, weights = torch.ones(2, 2), torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with outside_autocast(x):
            assert (x @ weights).dtype == torch.float32
        assert (x @ weights).dtype == torch.bfloat16
