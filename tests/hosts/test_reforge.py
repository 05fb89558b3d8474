"""Peculiarities of reForge: its options of a call, uncond left out late, its own flow models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import k_diffusion.sampling as k
import pytest
import torch
from torch import Tensor

from lib_sdfm.hosts.reforge.sampler_options import arguments_from_options
from lib_sdfm.ops.descent import ancestral_levels
from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import prompt
from tests.hosts.fake_reforge import CONST, POST_CFG, ModelSamplingDiscrete, ReforgeHost
from tests.hosts.flow_hosts import flow_reforge
from tests.hosts.jobs import job, new_forge, new_host, new_reforge, samples

REQUESTS = {
    "CFG": {"cfg_rescale": {}, "cfg_schedule": {"schedule": "Linear"}},
    "PAG and SEG": {"pag": {"scale": 2}, "seg": {"blur": 2}},
    "TPG": {"tpg": {"scale": 2}},
    "FreeU": {"freeu": {}},
    "NAG": {"nag": {}},
    "original": {"recipe": "original", "pag": {"scale": 2}, "seg": {}},
}


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DDIM"])
@pytest.mark.parametrize("name", REQUESTS)
def test_it_makes_what_the_others_make(name: str, sampler: str):
    settings = {"sampler_name": sampler, "batch_size": 2, "steps": 4}
    a1111, forge, reforge = (samples(make(), REQUESTS[name], **settings) for make in (new_host, new_forge, new_reforge))
    for other in (a1111, forge):
        torch.testing.assert_close(reforge, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_its_own_cfgpp_sampler_is_guided_by_ours_although_its_options_replace_the_unets():
    host, named, alone = (new_reforge() for _ in range(3))
    settings = {"cfg_scale": 0.6, "steps": 4}
    guided = samples(host, {"pag": {"scale": 2}}, sampler_name="Euler CFG++", **settings)
    wanted = samples(named, {"pag": {"scale": 2}, "cfgpp": {"scale": 0.6}}, sampler_name="Euler", steps=4, cfg_scale=7)
    torch.testing.assert_close(guided, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
    assert not guided.allclose(samples(alone, sampler_name="Euler CFG++", **settings), atol=1e-2)


@pytest.mark.parametrize("mask", [0.0, 0.5])
def test_perturbed_predictions_are_changed_as_the_main_ones_are_before_cfg(mask: float):
    """Where the negative prompt's prediction takes the place of the prompt's, nothing is left to perturb; by half, half."""

    def masked(args: dict[str, Any]) -> list[Tensor]:
        cond, uncond = args["conds_out"]
        return [cond * mask + uncond * (1 - mask), uncond]

    def masked_job(request_: dict | None, scale: float = 7) -> Tensor:
        host = new_reforge()
        host.sd_model.first_unet.model_options["sampler_pre_cfg_function"] = [masked]
        return samples(host, request_, cfg_scale=scale)

    wanted = masked_job(None) if mask == 0 else samples(new_reforge(), {"pag": {"scale": 1}}, cfg_scale=4)
    got = masked_job({"pag": {"scale": 2}}, 7 if mask == 0 else 8)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_functions_of_other_extensions_act_after_ours():
    host = new_reforge()
    seen: list[Tensor] = []

    def keep(args: dict[str, Any]) -> Tensor:
        seen.append(args["denoised"])
        return args["denoised"]

    host.sd_model.first_unet.model_options[POST_CFG] = [keep]
    plain = samples(host, steps=1)
    first = seen.pop()
    assert not samples(host, {"pag": {"scale": 5}}, steps=1).allclose(plain)
    assert not seen.pop().allclose(first)


def test_uncond_left_out_after_the_modifiers_is_noticed():
    settings = {"s_min_uncond": 100.0, "steps": 4}
    request = {"cfg_schedule": {"schedule": "Linear"}, "pag": {"scale": 2}}
    reforge, forge = (samples(make(), request, **settings) for make in (new_reforge, new_forge))
    torch.testing.assert_close(reforge, forge, rtol=1e-3, atol=1e-3 * float(forge.abs().max()))


def test_at_cfg_1_what_needs_uncond_has_it():
    """reForge always makes its conditioning; Forge doesn't, and such a job is refused there."""
    request = {"cfgpp": {"scale": 0.6}}
    reforge, a1111 = (samples(make(), request, cfg_scale=1.0, steps=4) for make in (new_reforge, new_host))
    torch.testing.assert_close(reforge, a1111, rtol=1e-3, atol=1e-3 * float(a1111.abs().max()))


def test_a_wrapper_of_the_unet_is_called_for_every_prediction():
    host = new_reforge()
    calls: list[int] = []

    def wrapper(forward: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(len(x))
        return forward(x, *args, **kwargs)

    options = host.sd_model.first_unet.model_options["transformer_options"]
    options["wrappers"] = {"diffusion_model": {None: [wrapper]}}
    wanted = samples(new_reforge(), {"pag": {"scale": 2}}, steps=2)
    torch.testing.assert_close(samples(host, {"pag": {"scale": 2}}, steps=2), wanted, rtol=1e-3, atol=1e-3)
    assert calls == [2] * (1 + 1 + 1 + 2)  # main, the same again, PAG; main, PAG


class AuraFlow(ModelSamplingDiscrete, CONST):
    """A flow model's sampling."""


class AdvancedModelSampling:
    """The built-in script: its ``model_sampling`` takes the place of the model's while that is loaded."""

    def __init__(self, host: ReforgeHost, sampling: torch.nn.Module) -> None:
        self._host, self._sampling = host, sampling

    def process_before_every_sampling(self, p: Any, *args: Any) -> None:
        unet = self._host.sd_model.forge_objects.unet.clone()
        unet.object_patches["model_sampling"] = self._sampling
        self._host.sd_model.forge_objects.unet = unet

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


@pytest.mark.parametrize("request_", [{"pag": {}}, {"cfg_rescale": {}}], ids=str)
def test_a_flow_model_of_advanced_model_sampling_is_refused_by_name(request_: dict):
    host = new_reforge()
    p = job(host, request_)
    p.scripts = [*p.scripts, AdvancedModelSampling(host, AuraFlow())]
    with pytest.raises(SdfmError, match="Turn off Advanced Model Sampling, and use Flow matching"):
        host.run(p)


def test_a_checkpoint_is_sampled_as_one_kind(tmp_path: Path):
    host = flow_reforge(tmp_path)
    p = job(host, {"flow": {}})
    p.scripts = [*p.scripts, AdvancedModelSampling(host, ModelSamplingDiscrete())]
    with pytest.raises(SdfmError, match="Flow matching: reForge's Advanced Model Sampling is on as well"):
        host.run(p)


def test_what_advanced_model_sampling_has_left_behind_is_not_the_models_own(tmp_path: Path):
    """Its object is in the model's place until the weights are loaded for the next job: then the host's own is put back."""
    host, settings = flow_reforge(tmp_path), {"steps": 4, "cfg_scale": 1.5}
    own = host.sd_model.base_model.model_sampling
    wanted = samples(host, {"flow": {}}, **settings)
    p = job(host, None, **settings)
    p.scripts = [*p.scripts, AdvancedModelSampling(host, AuraFlow())]
    host.run(p)
    assert host.sd_model.base_model.model_sampling is not own
    assert torch.equal(samples(host, {"flow": {}}, **settings), wanted)
    samples(host, {"flow": {"mode": "Off"}}, **settings)
    assert host.sd_model.base_model.model_sampling is own


def sample_euler_ancestral(model: Any, x: Tensor, sigmas: Tensor, extra_args: dict, callback: Any, disable: bool) -> Tensor:
    """ComfyUI's of reForge, with eta from an option: half of it, and no noise."""
    ones = x.new_ones(len(x))
    for i, (sigma, later) in enumerate(zip(sigmas.tolist(), sigmas.tolist()[1:])):
        denoised = model(x, sigma * ones, **extra_args)
        callback({"i": i})
        x = denoised + (x - denoised) * ancestral_levels(sigma, later, 0.5)[0] / sigma if later else denoised
    return x


def test_eta_of_a_sampler_without_such_an_argument_is_read_from_the_option():
    """CFG++ at lambda 1 is a plain step; with the wrong eta it would not be one of this sampler."""
    host = new_reforge()
    host.options = {"euler_ancestral_og_eta": 0.5}
    host.sampler_functions = {**host.sampler_functions, "Euler A Comfy": (sample_euler_ancestral, {})}
    settings = {"sampler_name": "Euler A Comfy", "steps": 4}
    uncond = {"unconds": torch.stack([prompt(1)]), "conds": [[(prompt(1), 1.0)]]}
    plain = samples(host, **settings, **uncond)
    torch.testing.assert_close(samples(host, {"cfgpp": {"scale": 0.6}}, **settings, **uncond), plain, rtol=1e-3, atol=1e-3)
    assert samples(host, {"cfgpp": {"scale": 0.6}}, **settings).isfinite().all()
    assert not samples(host, {"pag": {}}, **settings, **uncond).allclose(plain, atol=1e-2)


def test_options_of_samplers_by_function():
    option = {"dpmpp_sde_og_eta": 0.7, "dpmpp_sde_og_r": 0.4, "euler_og_s_churn": 2.0}.get
    found = [arguments_from_options(as_function(f"sample_{name}"), option) for name in ("dpmpp_sde", "euler", "lms")]
    assert found == [{"eta": 0.7, "r": 0.4}, {"s_churn": 2.0}, {}]
    assert arguments_from_options(k.sample_euler, option) == {}  # k-diffusion's has the argument itself


def as_function(name: str) -> Any:
    """A sampler's function of this name without these arguments."""

    def sample(model: Any, x: Tensor, sigmas: Tensor) -> Tensor:
        return x

    sample.__name__ = name
    return sample
