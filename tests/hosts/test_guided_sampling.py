"""Guided sampling in both hosts' stand-ins against plain torch."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from ldm.modules.diffusionmodules import openaimodel
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from tests.hosts.fake_a1111 import SAMPLERS, Conds, Host, Sampler, prompt
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.jobs import HOSTS, job, new_host, samples
from tests.hosts.reference import SIGMAS, Reference, timestep_of
from tests.pairs import in_pairs, in_turn

PAG = {"pag": {"scale": 3}}
ORIGINAL_PAG = {"recipe": "original", "pag": {"scale": 3}}
K_SAMPLERS = [name for name, (func, _) in SAMPLERS.items() if func.__module__ == "k_diffusion.sampling"]


def assert_same_picture(got: Tensor, wanted: Tensor, tolerance: float = 1e-3) -> None:
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance * float(wanted.std()))


def reference_samples(host: Host, sampler_name: str = "Euler", **settings: Any) -> Tensor:
    """Return the result of k-diffusion's own sampler around :class:`Reference`, from the host's noise and schedule."""
    reference_settings = {name: settings.pop(name) for name in ("cfg", "pag", "recipe") if name in settings}
    p = job(host, sampler_name=sampler_name, **settings)
    p.setup_conds()
    reference = Reference(host.unet, p.c, p.negatives(), **reference_settings)
    sampler = Sampler(host, sampler_name)
    sigmas = sampler.get_sigmas(p.steps)
    x = p.noise(p.height // 8, p.width // 8) * sigmas[0]
    arguments = {"sigmas": sigmas} if sampler_name not in ("DPM fast", "DPM adaptive") else {
        "sigma_min": float(sampler.model_wrap.sigmas[0]), "sigma_max": float(sampler.model_wrap.sigmas[-1])
    }  # fmt: skip
    if sampler_name == "DPM fast":
        arguments["n"] = p.steps
    if "noise_sampler" in sampler.func.__wrapped__.__code__.co_varnames:
        arguments["noise_sampler"] = p.noise_sampler(x)
    return sampler.func(reference, x, disable=True, **arguments)


NEUTRAL = [
    {},
    {"pag": False},
    {"pag": {"scale": 0}},
    {"pag": {"start_step": 90}},
    {"pag": {"sanf": True, "scale": 0, "rescale": 0.5}},
    {"recipe": "original", "pag": {"scale": 0, "sanf": True}},
    {"recipe": "original", "pag": {"start_step": 90, "end_step": 99}},
    {technique.name: False for technique in SCHEMA.techniques},
]


@in_pairs(make=HOSTS, sampler_name=["Euler a", "Heun", "DDIM CFG++", "UniPC"], request_=NEUTRAL)
def test_neutral_settings_are_bit_equal_to_none(make: Any, sampler_name: str, request_: dict):
    assert torch.equal(samples(make(), request_, sampler_name=sampler_name), plain_samples(make, sampler_name))


@cache
def plain_samples(make: Any, sampler_name: str) -> Tensor:
    return samples(make(), sampler_name=sampler_name)


@in_turn(make=HOSTS, sampler_name=K_SAMPLERS)
def test_pag_equals_plain_torch_with_every_sampler(make: Any, sampler_name: str):
    host = make()
    steps = 7 if sampler_name == "DPM fast" else 3
    settings = {"sampler_name": sampler_name, "steps": steps}
    guided = samples(host, PAG, **settings)
    tolerance = 3e-3 if sampler_name == "DPM adaptive" else 1e-3  # its steps depend on what rounding leaves
    assert_same_picture(guided, reference_samples(host, **settings), tolerance)
    assert (guided - samples(host, **settings)).std() > 0.3  # not because it did nothing


@pytest.mark.parametrize("sampler_name", ["Euler", "DPM++ 2S a"])
def test_recipe_original_takes_the_values_of_the_first_middle_block_without_its_projection(host: Host, sampler_name: str):
    guided = samples(host, ORIGINAL_PAG, sampler_name=sampler_name)
    assert_same_picture(guided, reference_samples(host, sampler_name, recipe="original"))


def test_adaptive_fades_by_the_models_time(host: Host):
    guided = samples(host, {"pag": {"scale": 3, "adaptive": 0.2}}, steps=4)
    wanted = reference_samples(host, steps=4, pag=lambda _, sigma: max(0.0, 3 - 3 * 0.2**4 * (1000 - timestep_of(sigma))))
    assert_same_picture(guided, wanted)


AND: Conds = [[(prompt(1), 1.0), (prompt(5), 0.6)], [(prompt(2), 1.0), (prompt(6), 0.6)]]
UNEQUAL_AND: Conds = [[(prompt(1), 1.0), (prompt(5), 0.6)], [(prompt(2), 1.3)]]
LONG = torch.stack([prompt(0, tokens=5)] * 2)


def ngms(call: int, sigma: float) -> float | None:
    """A high "negative guidance minimum sigma": every other call has no uncond."""
    return None if call % 2 else 7.0


NGMS = {"s_min_uncond": 100.0, "cfg": ngms}
JOBS = {
    "AND": {"conds": AND, "batch_size": 2},
    "AND, one picture": {"conds": AND[:1]},
    "AND, negative weight": {"conds": [[(prompt(1), 1.0), (prompt(5), -0.6)]]},
    "unequal lengths": {"unconds": LONG, "batch_size": 2},
    "AND, unequal lengths": {"conds": AND, "unconds": LONG, "batch_size": 2},
    "CFG 1": {"cfg_scale": 1.0, "cfg": lambda call, sigma: 1.0},
    "not square": {"width": 80, "height": 48},
    "NGMS": {**NGMS, "steps": 5},
}
A1111_JOBS = {  # Forge takes the smallest number of prompts, and their bare sum where it skips uncond
    "AND, unequal numbers": {"conds": UNEQUAL_AND, "batch_size": 2},
    "AND, unequal numbers reversed": {"conds": UNEQUAL_AND[::-1], "batch_size": 2},
    "NGMS, AND": {**NGMS, "conds": UNEQUAL_AND, "batch_size": 2},
}
TOGETHER = {"together": True, "apart": False}
RECIPES = {"sdfm": PAG, "original": ORIGINAL_PAG}
BOTH_RECIPES = pytest.mark.parametrize("request_", RECIPES.values(), ids=RECIPES)


@in_pairs(make=HOSTS, batch_cond_uncond=TOGETHER, settings=JOBS, request_=RECIPES)
def test_the_sum_is_right_however_the_host_makes_its_calls(make: Any, batch_cond_uncond: bool, settings: dict, request_: dict):
    host = make()
    host.batch_cond_uncond = batch_cond_uncond
    wanted = reference_samples(host, recipe=request_.get("recipe", "sdfm"), **settings)
    assert_same_picture(samples(host, request_, **{key: value for key, value in settings.items() if key != "cfg"}), wanted)


@in_pairs(batch_cond_uncond=TOGETHER, settings=A1111_JOBS, request_=RECIPES)
def test_a1111_joins_any_numbers_of_prompts(batch_cond_uncond: bool, settings: dict, request_: dict):
    test_the_sum_is_right_however_the_host_makes_its_calls(new_host, batch_cond_uncond, settings, request_)


@in_pairs(
    make=HOSTS,
    sampler_name=["Euler a", "DPM++ 2M", "DDIM", "DDIM CFG++"],
    request_=[PAG, {"pag": {"sanf": True, "rescale": 0.5}}, ORIGINAL_PAG],
)
def test_a_batch_of_two_equals_two_batches_of_one(make: Any, sampler_name: str, request_: dict):
    host = make()
    both = samples(host, request_, sampler_name=sampler_name, batch_size=2)
    assert_same_picture(both, samples(host, request_, sampler_name=sampler_name, n_iter=2))


def test_every_batch_of_a_job_is_guided(host: Host):
    guided = samples(host, PAG, n_iter=3)
    alone = [samples(host, PAG, seed=seed) for seed in (1, 2, 3)]
    assert torch.equal(guided, torch.cat(alone))


@BOTH_RECIPES
def test_timestep_samplers_get_the_same_sum_as_noise(host: Host, request_: dict):
    guided = samples(host, request_, sampler_name="DDIM")
    assert_same_picture(guided, reference_ddim(host, recipe=request_.get("recipe", "sdfm")))


@pytest.mark.parametrize(("request_", "pag"), [(PAG, 3 / 12.5), (ORIGINAL_PAG, 3.0)], ids=["sdfm", "original"])
def test_a1111s_cfgpp_divides_pag_by_12_and_a_half_in_recipe_sdfm_only(a1111: Host, request_: dict, pag: float):
    guided = samples(a1111, request_, sampler_name="DDIM CFG++")
    wanted = reference_ddim(a1111, True, cfg=lambda *_: 7 / 12.5, pag=lambda *_: pag, recipe=request_.get("recipe", "sdfm"))
    assert_same_picture(guided, wanted)


@BOTH_RECIPES
def test_forges_cfgpp_divides_nothing(forge: ForgeHost, request_: dict):
    guided = samples(forge, request_, sampler_name="DDIM CFG++")
    assert_same_picture(guided, reference_ddim(forge, True, recipe=request_.get("recipe", "sdfm")))


def reference_ddim(host: Host, renoise_with_uncond: bool = False, **settings: Any) -> Tensor:
    p = job(host)
    p.setup_conds()
    reference = Reference(host.unet, p.c, p.negatives(), **settings)
    timesteps = [1, 334, 667, 999]
    x = p.noise(8, 8)
    for now, later in zip(timesteps[:0:-1], timesteps[-2::-1]):
        guided, uncond = reference.eps(x, now, float(SIGMAS[now]))
        denoised = x * (1 + SIGMAS[now] ** 2) ** 0.5 - SIGMAS[now] * guided
        noise = uncond if renoise_with_uncond else guided
        x = (denoised + SIGMAS[later] * noise) / (1 + SIGMAS[later] ** 2) ** 0.5
    return x.float()


@pytest.mark.parametrize(
    "settings", [{}, {"rescale": 0.7}, {"sanf": True}, {"adaptive": 0.18, "sanf": True, "rescale": 0.4}], ids=str
)
def test_ddim_and_euler_are_one_sampler_in_two_coordinates(host: Host, monkeypatch: pytest.MonkeyPatch, settings: dict):
    """Recipe sdfm computes in x0 wherever the sampler computes."""
    sigmas = torch.tensor(SIGMAS[[999, 667, 334, 1]]).float()
    monkeypatch.setattr(Sampler, "get_sigmas", lambda self, steps: sigmas)
    euler = samples(host, {"pag": settings})

    p = job(host, {"pag": settings}, sampler_name="DDIM")
    p.noise = lambda *size: job(host).noise(*size) * sigmas[0] / (1 + sigmas[0] ** 2) ** 0.5
    assert_same_picture(host.run(p) * (1 + sigmas[-1] ** 2) ** 0.5, euler)


@in_turn(
    make=HOSTS,
    sampler_name=[*K_SAMPLERS[:-1], "DDIM", "DDIM CFG++", "PLMS", "UniPC"],
    request_=[{"pag": {"sanf": True, "rescale": 0.5, "adaptive": 0.1}}, ORIGINAL_PAG],
)
def test_one_step_is_enough(make: Any, sampler_name: str, request_: dict):
    result = samples(make(), request_, sampler_name=sampler_name, steps=1)
    assert result.isfinite().all()


def test_odd_sizes_work_where_the_host_makes_them_work(host: Host, monkeypatch: pytest.MonkeyPatch):
    """Where a skip connection is one pixel smaller A1111 resizes the decoder's features after the convolution, Forge before."""

    class Torch:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        @staticmethod
        def cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
            if dim == 1:
                tensors = [torch.nn.functional.interpolate(tensors[0], tensors[1].shape[-2:]), tensors[1]]
            return torch.cat(tensors, dim)

    def upsample(self: torch.nn.Module, x: Tensor) -> Tensor:
        return self.conv(torch.nn.functional.interpolate(x, (5, 9)))

    if hasattr(host.sd_model, "forge_objects"):
        monkeypatch.setattr(openaimodel.Upsample, "forward", upsample)
    else:
        monkeypatch.setattr(openaimodel, "th", Torch())
    size = {"width": 72, "height": 40}
    assert_same_picture(samples(host, PAG, **size), reference_samples(host, **size))


@in_pairs(
    make=HOSTS,
    dtype=[torch.bfloat16, torch.float16],
    sampler_name=["Euler", "DDIM"],
    request_=[{"pag": {"sanf": True, "rescale": 1.0}}, PAG, ORIGINAL_PAG],
)
def test_half_precision_stays_finite_and_close(make: Any, dtype: torch.dtype, sampler_name: str, request_: dict):
    host = make()
    exact = samples(host, request_, sampler_name=sampler_name)
    for module in host.sd_model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            module.to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        result = samples(host, request_, sampler_name=sampler_name)
    assert result.isfinite().all()
    if "sanf" not in request_["pag"]:  # which picks, and now and then picks differently
        assert (result - exact).std() < 0.05 * exact.std()
