"""SDFM in Forge beside other extensions that patch the UNet, and after their errors."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Interrupted, Processing
from tests.hosts.fake_forge import ForgeHost, UnetPatcher
from tests.hosts.jobs import another_checkpoint, attached, job, new_forge, samples
from tests.hosts.test_nothing_left_behind import EVERYTHING
from tests.pairs import in_pairs
from tests.together import together

PAG = {"pag": {"scale": 2}}
ORIGINAL = together(recipe="original")
Patch = Callable[[UnetPatcher], None]


class Trouble(Exception):
    pass


@dataclasses.dataclass
class Neighbour:
    """An extension of the usual pattern: clones the UNet before each pass and sets functions on the clone."""

    host: ForgeHost
    patch: Patch

    def before_process(self, p: Processing, *args: object) -> None:
        pass

    process_batch = before_process

    def process_before_every_sampling(self, p: Processing, *args: object) -> None:
        objects = self.host.sd_model.forge_objects
        unet = objects.unet.clone()
        self.patch(unet)
        objects.unet = unet


def run_beside(host: ForgeHost, request_: dict | None, patch: Patch, first: bool = False, **settings: Any) -> Tensor:
    """Return the result of a job with a neighbour that is called before us or after us."""
    p = job(host, request_, **settings)
    neighbour = Neighbour(host, patch)
    p.scripts = [neighbour, *p.scripts] if first else [*p.scripts, neighbour]
    result = host.run(p)
    assert not host.swallowed
    return result


def halve(args: dict[str, Any]) -> Tensor:
    return args["denoised"] / 2


def add(options: dict[str, Any], name: str, function: Callable[..., Any]) -> None:
    options.setdefault(name, []).append(function)


def post_cfg(unet: UnetPatcher) -> None:
    add(unet.model_options, "sampler_post_cfg_function", halve)


def louder_attention(n: Tensor, context: Tensor, value: Tensor, extra: dict) -> tuple[Tensor, Tensor, Tensor]:
    return n, context, value * 1.5


def attention_patch(unet: UnetPatcher) -> None:
    add(unet.model_options["transformer_options"].setdefault("patches", {}), "attn1_patch", louder_attention)


def cfg_function(unet: UnetPatcher) -> None:
    unet.model_options["sampler_cfg_function"] = lambda args: args["cond"] * 0.9


PATCHES = {"post-CFG function": post_cfg, "attention patch": attention_patch, "CFG function": cfg_function}
ORDERS = pytest.mark.parametrize("first", [False, True], ids=["called after us", "called before us"])


@in_pairs(patch=PATCHES, first=[False, True], request_={"PAG": PAG, "all": EVERYTHING, "original": ORIGINAL})
def test_a_neighbours_patches_stay_and_ours_go(forge: ForgeHost, patch: Patch, first: bool, request_: dict):
    before = attached(forge.sd_model)
    guided = run_beside(forge, request_, patch, first)
    left = forge.sd_model.forge_objects.unet
    expected = UnetPatcher(None)
    patch(expected)
    assert functions_of(left.model_options) == functions_of(expected.model_options)
    alone = run_beside(forge, None, patch)
    assert (guided - alone).std() > 0.1
    forge.sd_model.reset()
    assert attached(forge.sd_model) == before


def functions_of(options: dict[str, Any]) -> dict[str, list]:
    """Names of the functions in Forge's options; empty lists aside."""
    lists = {**options, **options["transformer_options"].get("patches", {})}
    return {
        name: [f.__name__ for f in (found if isinstance(found, list) else [found])]
        for name, found in lists.items() if name != "transformer_options" and found
    }  # fmt: skip


@ORDERS
def test_a_post_cfg_function_gets_the_guided_picture(forge: ForgeHost, first: bool):
    """Ours is the first of all, whoever was called first."""
    seen, guided = [], []

    def look(args: dict[str, Any]) -> Tensor:
        seen.append(args["denoised"])
        return args["denoised"]

    forge.on_cfg_after_cfg.append(lambda params: guided.append(params.x))
    run_beside(forge, PAG, lambda unet: add(unet.model_options, "sampler_post_cfg_function", look), first)
    assert len(seen) == len(guided) == 3 and all(map(torch.equal, seen, guided))


def test_a_neighbours_attention_patch_acts_in_our_prediction_too(forge: ForgeHost):
    """As if the weights themselves were other ones."""
    guided = run_beside(forge, PAG, attention_patch)
    louder = new_forge()
    for module in louder.unet.modules():
        if hasattr(module, "attn1"):
            module.attn1.to_v.weight.mul_(1.5)
    torch.testing.assert_close(guided, samples(louder, PAG), rtol=1e-4, atol=1e-4)


def test_a_neighbours_cfg_function_gets_the_scheduled_scale(forge: ForgeHost):
    scales: list[float] = []

    def note(args: dict[str, Any]) -> Tensor:
        scales.append(args["cond_scale"])
        return args["uncond"] + (args["cond"] - args["uncond"]) * args["cond_scale"]

    def patch(unet: UnetPatcher) -> None:
        unet.model_options["sampler_cfg_function"] = note

    request_ = {"cfg_schedule": {"schedule": "Cosine"}}
    torch.testing.assert_close(run_beside(forge, request_, patch), samples(forge, request_), rtol=1e-4, atol=1e-4)
    assert scales == sorted(scales, reverse=True) and len(set(scales)) == 3


def test_options_that_are_copied_deeply_in_each_call_still_guide(forge: ForgeHost):
    def copying(*values: Any) -> tuple:
        return *values[:-2], copy.deepcopy(values[-2]), values[-1]

    def pre_cfg(model: Any, cond: Any, uncond: Any, x: Any, sigma: Any, options: dict) -> tuple:
        return model, cond, uncond, x, sigma, copy.deepcopy(options)

    def patch(unet: UnetPatcher) -> None:
        add(unet.model_options, "conditioning_modifiers", copying)
        add(unet.model_options, "sampler_pre_cfg_function", pre_cfg)

    assert torch.equal(run_beside(forge, EVERYTHING, patch), samples(forge, EVERYTHING))


def test_a_clone_of_our_clone_in_the_middle_of_the_run_still_guides(forge: ForgeHost):
    def clone(params: Any) -> None:
        objects = forge.sd_model.forge_objects
        objects.unet = objects.unet.clone()

    forge.on_cfg_denoiser.append(clone)
    got = samples(forge, PAG)
    forge.on_cfg_denoiser.remove(clone)
    assert not functions_of(forge.sd_model.forge_objects.unet.model_options)
    assert torch.equal(got, samples(forge, PAG))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_unpatched_unet_in_the_middle_of_the_run_is_patched_again(forge: ForgeHost, at: int):
    """An extension may put back what it had seen before us."""

    def put_back(params: Any) -> None:
        if params.denoiser.step == at:
            forge.sd_model.forge_objects.unet = forge.sd_model.first_unet

    forge.on_cfg_denoiser.insert(0, put_back)
    got, left = samples(forge, PAG), attached(forge.sd_model)
    forge.on_cfg_denoiser.remove(put_back)
    assert torch.equal(got, samples(forge, PAG))
    assert left == attached(forge.sd_model)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_unpatched_unet_that_comes_after_us_is_noticed(forge: ForgeHost, at: int):
    plain = samples(forge)

    def put_back(params: Any) -> None:
        if params.denoiser.step == at:
            forge.sd_model.forge_objects.unet = forge.sd_model.first_unet

    forge.on_cfg_denoiser.append(put_back)
    with pytest.raises(SdfmError, match=f"combined without SDFM, at step {at}"):
        forge.run(job(forge, PAG))
    forge.on_cfg_denoiser.remove(put_back)
    assert torch.equal(samples(forge), plain)


def fail(*args: Any, **kwargs: Any) -> Any:
    raise Trouble


PLACES = {
    "conditioning modifier": lambda unet, f: add(unet.model_options, "conditioning_modifiers", f),
    "pre-CFG function": lambda unet, f: add(unet.model_options, "sampler_pre_cfg_function", f),
    "post-CFG function": lambda unet, f: add(unet.model_options, "sampler_post_cfg_function", f),
    "CFG function": lambda unet, f: unet.model_options.update(sampler_cfg_function=f),
    "UNet wrapper": lambda unet, f: unet.model_options.update(model_function_wrapper=f),
    **{
        name: lambda unet, f, name=name: add(unet.model_options["transformer_options"].setdefault("patches", {}), name, f)
        for name in ("attn1_patch", "attn1_output_patch", "output_block_patch")
    },
}
"""Where Forge lets extensions put functions."""


@in_pairs(
    place=list(PLACES), request_={"PAG": PAG, "original": ORIGINAL},
    error={"an error": Trouble, "an interrupt": Interrupted}, first={"called after us": False, "called before us": True},
)  # fmt: skip
def test_after_trouble_in_a_neighbours_function(
    forge: ForgeHost, place: str, request_: dict, error: type[BaseException], first: bool
):
    plain, before = samples(forge), attached(forge.sd_model)
    calls: list[int] = []

    def fail_there(*args: Any) -> Any:
        calls.append(1)
        raise error

    p = job(forge, request_, steps=2)
    neighbour = Neighbour(forge, lambda unet: PLACES[place](unet, fail_there))
    p.scripts = [neighbour, *p.scripts] if first else [*p.scripts, neighbour]
    if error is Trouble:
        with pytest.raises(Trouble):
            forge.run(p)
    else:
        forge.run(p)
    assert calls
    expected = UnetPatcher(None)
    PLACES[place](expected, fail_there)
    assert functions_of(forge.sd_model.forge_objects.unet.model_options) == functions_of(expected.model_options)
    forge.sd_model.reset()
    assert attached(forge.sd_model) == before
    assert torch.equal(samples(forge), plain)


@pytest.mark.parametrize("callbacks", ["on_cfg_denoiser", "on_cfg_after_cfg"])
@ORDERS
def test_an_error_in_a_neighbours_callback_is_the_hosts_business(forge: ForgeHost, callbacks: str, first: bool):
    wanted = samples(forge, PAG)
    getattr(forge, callbacks).insert(0 if first else 9, fail)
    assert torch.equal(forge.run(job(forge, PAG)), wanted)
    assert {type(error) for error in forge.swallowed} == {Trouble}


@pytest.mark.parametrize("at", [1, 2])
def test_a_neighbours_patches_are_lost_at_a_refiner_and_ours_are_not(forge: ForgeHost, at: int):
    """As Forge has it."""
    base, refiner = forge.sd_model, another_checkpoint(forge)
    forge.refiner = at, refiner
    seen: list[int] = []

    def look(args: dict[str, Any]) -> Tensor:
        seen.append(1)
        return args["denoised"]

    guided = run_beside(forge, PAG, lambda unet: add(unet.model_options, "sampler_post_cfg_function", look))
    forge.sd_model = base
    assert len(seen) == at
    assert torch.equal(guided, samples(forge, PAG))
    assert not functions_of(refiner.forge_objects.unet.model_options)
