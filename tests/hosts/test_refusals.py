"""Impossible jobs are refused by ``p.sample``, in words, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.techniques.pag import Pag
from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Host, Processing, Sampler
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.jobs import attached, job, samples
from tests.support import fingerprint


def refusal(host: Host, p: Processing) -> str:
    """The message with which a job fails; checks that it fails in ``p.sample`` and leaves everything as it was."""
    plain = samples(host)
    before = fingerprint(p), attached(host.sd_model)
    host.script_call(p, "process_batch")
    assert not host.swallowed
    with pytest.raises(SdfmError) as caught:
        host.run(p)
    assert (fingerprint(p), attached(host.sd_model)) == before
    assert torch.equal(samples(host), plain)
    return str(caught.value)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"pag": {"scale": -1}}, ["pag.scale", "-1", "0 to 100"]),
        ({"pag": {"scale": "three"}}, ["pag.scale", "'three'", "0 to 100"]),
        ({"pag": {"scale": float("nan")}}, ["pag.scale", "nan"]),
        ({"pag": {"start_step": 1.5}}, ["pag.start_step", "1.5", "whole number"]),
        ({"pag": {"sanf": 1}}, ["pag.sanf", "1", "true or false"]),
        ({"pag": {"layers": "everywhere"}}, ["pag.layers", "everywhere", "input.B, middle, output.B"]),
        ({"pag": {"strength": 3}}, ["pag.strength", "scale"]),
        ({"pag": 3}, ["pag", "3", "dictionary"]),
        ({"guidence": {}}, ["guidence", "recipe", "pag"]),
        ({"recipe": "paper"}, ["recipe", "paper", "sdfm, original"]),
        ({"recipe": "original", "pag": {"rescale": 0.5}}, ["pag.rescale", "0.5", "as the old extensions"]),
        ("pag", ["args[0]", "'pag'", "dictionary"]),
    ],
    ids=str,
)
def test_bad_settings_name_setting_value_and_what_is_allowed(host: Host, request_: Any, words: list[str]):
    message = refusal(host, job(host, request_))
    assert [word for word in words if word not in message] == []
    assert len(host.sd_model.calls) == 6  # those of two plain pictures: this one was not begun


def test_too_many_arguments_are_refused(host: Host):
    p = job(host)
    p.script_args = [None] * 500
    assert "500" in refusal(host, p)


def test_a_layer_that_the_model_does_not_have_is_named(host: Host):
    assert "input block 2" in refusal(host, job(host, {"pag": {"layers": "middle, input.2"}}))
    assert "transformer blocks 0 to 1, not 7" in refusal(host, job(host, {"pag": {"layers": "middle.7"}}))


def test_a_script_that_samples_by_itself_is_noticed(host: Host):
    """Img2img alternative makes its own sampler; no pass of it is announced."""
    p = job(host, {"pag": {}})

    def own_sampling(**kwargs: Any) -> Tensor:
        return Sampler(host, "Euler").sample(p, p.noise(8, 8))

    p.sample = own_sampling
    assert "another script" in refusal(host, p)


def test_a_second_sampler_beside_the_announced_one_is_noticed(host: Host):
    p = job(host, {"pag": {}})
    announced = p.sample

    def own_sampling(**kwargs: Any) -> Tensor:
        announced(**kwargs)
        return Sampler(host, "Euler").sample(p, p.noise(8, 8))

    p.sample = own_sampling
    assert "own sampler" in refusal(host, p)


def test_a_script_that_samples_nothing_is_noticed(host: Host):
    p = job(host, {"pag": {}})
    p.sample = lambda **kwargs: torch.zeros(1, 4, 8, 8)
    assert "without SDFM" in refusal(host, p)


def test_an_extension_that_takes_combine_denoised_over_during_the_run_is_noticed(a1111: Host):
    """As incantations does in each call."""
    p = job(a1111, {"pag": {}})

    def take_over(params: Any) -> None:
        if params.denoiser.p is p:
            params.denoiser.combine_denoised = lambda x_out, conds_list, uncond, cond_scale: x_out[-len(uncond) :]

    a1111.on_cfg_denoiser.append(take_over)
    assert "tests.hosts.test_refusals replaces CFG" in refusal(a1111, p)


BOTH_RECIPES = pytest.mark.parametrize(
    "request_", [{"pag": {}}, {"recipe": "original", "pag": {"scale": 1}}], ids=["sdfm", "original"]
)


@BOTH_RECIPES
def test_a_unet_whose_attention_does_not_run_is_noticed(a1111: Host, request_: dict):
    """TensorRT, for one, predicts without calling the UNet's modules."""
    a1111.sd_model.apply_model = lambda x, timesteps, cond: x * 0.1
    assert "did not run" in refusal(a1111, job(a1111, request_))


@BOTH_RECIPES
def test_a_forge_unet_whose_attention_does_not_run_is_noticed(forge: ForgeHost, request_: dict):
    forge.sd_model.kmodel.apply_model = lambda x, sigma, **c: x * 0.1
    assert "did not run" in refusal(forge, job(forge, request_))


class Transformer(nn.Module):
    """A model without UNet blocks: Flux, SD3."""

    def forward(self, x: Tensor, timesteps: Tensor, context: Any, transformer_options: Any = None) -> Tensor:
        return x * 0.1


@pytest.mark.parametrize("request_", [{"pag": {}}, {"freeu": {}}, {"recipe": "original", "seg": {}}], ids=str)
def test_a_model_that_is_no_such_unet_is_named(host: Host, request_: dict):
    host.diffusion_model = Transformer()
    name = {"pag": "PAG", "freeu": "FreeU", "seg": "SEG"}[list(request_)[-1]]
    assert f"{name}: this model is not a Stable Diffusion UNet (Transformer)" in refusal(host, job(host, request_))


def test_a_model_that_is_no_such_unet_is_guided_where_its_blocks_do_not_matter(host: Host):
    host.diffusion_model = Transformer()
    assert samples(host, {"dynamic_thresholding": {}, "cfg_schedule": {"schedule": "Linear"}}).isfinite().all()


def test_values_of_another_size_than_the_queries_are_named(a1111: Host):
    attention = a1111.unet.middle_block[1].transformer_blocks[0].attn1
    plain_forward = attention.forward

    def merged(x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Token merging: attention sees fewer tokens than it gives."""
        return attention.to_out(plain_forward(x, context=x[:, ::2]) + 0 * attention.to_v(x[:, ::2]).mean(1, keepdim=True))

    attention.forward = merged
    assert "middle.0 has values of shape" in refusal(a1111, job(a1111, {"pag": {}}))


@pytest.mark.parametrize("stage", ["inert", "active", "perturbation", "correct"])
def test_a_defect_of_a_technique_is_no_picture_without_it(host: Host, monkeypatch: pytest.MonkeyPatch, stage: str):
    """Some stages run where the host swallows exceptions."""

    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    plain, before = samples(host), attached(host.sd_model)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Pag, stage, broken)
        host.run(job(host, {"pag": {}}))
    assert attached(host.sd_model) == before
    assert torch.equal(samples(host), plain)


def test_errors_of_the_model_itself_pass_through(host: Host):
    def out_of_memory(number: int) -> None:
        raise torch.OutOfMemoryError("no memory")

    host.sd_model.before_call = out_of_memory
    with pytest.raises(torch.OutOfMemoryError):
        host.run(job(host, {"pag": {}}))


def test_a_fault_of_ours_before_sampling_is_no_picture_without_us(host: Host):
    """The host swallows what `process_batch` raises."""
    del host.sd_model.is_sdxl
    p = job(host, {"freeu": {}})
    with pytest.raises(SdfmError, match="differs from what SDFM expects.*is_sdxl"):
        host.run(p)
    assert "sample" not in vars(p)
