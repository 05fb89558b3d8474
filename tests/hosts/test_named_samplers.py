"""CFG++ samplers by name on both hosts, with and without a run of ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import k_diffusion.sampling as k
import pytest
import torch
from torch import Tensor

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.named_samplers import DDIM_CFGPP, NAMED_SAMPLERS, hosted, hosted_ddim
from lib_sdfm.hosts.reforge.uncond import ReforgeWithUncond
from lib_sdfm.hosts.uncond import DenoiserWithUncond
from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Host, prompt
from tests.hosts.fake_reforge import ReforgeHost
from tests.hosts.jobs import HOSTS, new_forge, new_host, samples
from tests.pairs import in_turn
from tests.support import fingerprint, noise_of

NAMES = [named.name for named in NAMED_SAMPLERS]
EQUAL = {"conds": [[(prompt(0), 1.0)]]}


def with_named_samplers(host: Host) -> Host:
    with_uncond = ReforgeWithUncond if isinstance(host, ReforgeHost) else DenoiserWithUncond
    entries = {named.name: (hosted(named, k, with_uncond), named.options) for named in NAMED_SAMPLERS}
    host.sampler_functions = {**host.sampler_functions, **entries, DDIM_CFGPP: (hosted_ddim(k, with_uncond), {})}
    return host


@pytest.fixture(params=HOSTS.values(), ids=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return with_named_samplers(request.param())


def made(host: Host, name: str, request: dict | None = None, **settings: Any) -> Tensor:
    return samples(host, request, sampler_name=name, **{"cfg_scale": 0.6, "steps": 4, **settings})


def assert_close(ours: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(ours, other, rtol=0, atol=2e-5 * float(other.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_they_are_guided_without_any_script(host: Host, name: str):
    alone = host.run(host.processing(host, sampler_name=name, cfg_scale=0.6, steps=4))
    weaker = host.run(host.processing(host, sampler_name=name, cfg_scale=0.2, steps=4))
    assert alone.isfinite().all()
    assert not alone.allclose(weaker, atol=1e-3)
    torch.testing.assert_close(alone, made(host, name))
    denoiser = host.samplers[-1].model_wrap_cfg
    assert denoiser.need_last_noise_uncond is False


@pytest.mark.parametrize("name", NAMES)
def test_both_hosts_make_the_same(name: str):
    first, second = (made(with_named_samplers(new()), name) for new in (new_host, new_forge))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max()))


@in_turn(make=HOSTS, name=NAMES)
def test_equal_prompts_make_the_scale_meaningless(make: Any, name: str):
    host = with_named_samplers(make())
    assert_close(made(host, name, **EQUAL), made(host, name, cfg_scale=1.7, **EQUAL))


@pytest.mark.parametrize(("name", "plain"), [("Euler CFG++", "Euler"), ("Euler Ancestral CFG++", "Euler a")])
def test_the_technique_on_the_plain_sampler_is_the_same(host: Host, name: str, plain: str):
    assert_close(made(host, plain, {"cfgpp": {"scale": 0.6}}, cfg_scale=5.0), made(host, name))


@pytest.mark.parametrize("request_", [{"pag": {"scale": 0.25}}, {"seg": {"scale": 0.25}}], ids=["PAG", "SEG"])
def test_other_guidance_is_in_the_guided_prediction(host: Host, request_: dict):
    guided = made(host, "Euler CFG++", request_)
    assert not guided.allclose(made(host, "Euler CFG++"), atol=1e-3)
    assert_close(made(host, "Euler", {**request_, "cfgpp": {}}, cfg_scale=5.0), guided)


def test_the_hires_pass_and_img2img_too(host: Host):
    hires = {"enable_hr": True} if not hasattr(host.processing, "hr_cfg") else {"enable_hr": True, "scripts": None}
    for settings in (hires, {"init_latent": torch.zeros(1, 4, 8, 8)}):
        settings.pop("scripts", None)
        assert made(host, "DPM++ 2M CFG++", **settings).isfinite().all()


def test_a_step_for_which_the_host_leaves_uncond_out_is_plain(host: Host):
    """NGMS takes every other call; with all of them below its level two steps of four are plain."""
    with_ngms = made(host, "Euler CFG++", s_min_uncond=100.0)
    assert with_ngms.isfinite().all() and float(with_ngms.abs().max()) < 50
    assert not with_ngms.allclose(made(host, "Euler CFG++"), atol=1e-3)


def test_both_hosts_agree_where_uncond_is_left_out():
    first, second = (made(with_named_samplers(new()), "Euler CFG++", s_min_uncond=100.0) for new in (new_host, new_forge))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max()))


@in_turn(name=NAMES, make=dict(reversed(HOSTS.items())))
def test_images_of_a_batch_are_those_of_single_jobs(make: Any, name: str):
    host = with_named_samplers(make())
    together = made(host, name, batch_size=2)
    apart = torch.cat([made(host, name, seed=seed) for seed in (1, 2)])
    torch.testing.assert_close(together, apart, rtol=1e-3, atol=1e-3 * float(apart.abs().max()))


@pytest.mark.parametrize("name", ["Euler CFG++", "DPM++ 2S Ancestral CFG++"])
def test_the_technique_on_top_is_refused(host: Host, name: str):
    with pytest.raises(SdfmError) as caught:
        made(host, name, {"cfgpp": {}})
    assert name in str(caught.value) and "itself" in str(caught.value)


def test_forges_cfg_1_is_refused_before_a_picture():
    forge = with_named_samplers(new_forge())
    with pytest.raises(UnsupportedError, match="CFG scale 1"):
        made(forge, "Euler CFG++", cfg_scale=1.0)
    assert forge.samplers[-1].model_wrap_cfg.need_last_noise_uncond is False


@pytest.mark.parametrize("settings", [{}, {"enable_hr": True}, {"init_latent": noise_of(1, 1, 4, 8, 8)}], ids=str)
def test_forges_other_ddim_cfgpp_is_a1111s(settings: dict):
    if settings.get("enable_hr"):
        settings = {**settings, "cfg_scale": 7.0}  # the stand-in's hires scale
    theirs = made(new_host(), "DDIM CFG++", **{"cfg_scale": 7.5, **settings})
    ours = made(with_named_samplers(new_forge()), DDIM_CFGPP, **{"cfg_scale": 7.5, **settings})
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


class StubDenoiser:
    """Half of the latent as guided prediction, a quarter as uncond, kept as a host keeps it."""

    def __init__(self, **kept: Any) -> None:
        self.need_last_noise_uncond, self.mask = False, None
        vars(self).update(kept)

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        assert self.need_last_noise_uncond
        uncond = x / 4 if extra_args.get("keeps", True) else torch.zeros_like(x)
        forge = hasattr(self, "classic_ddim_eps_estimation")
        self.last_noise_uncond = (x - uncond) / sigma.view(-1, 1, 1, 1) if forge else uncond
        return x / 2


@pytest.mark.parametrize("kept", [{}, {"classic_ddim_eps_estimation": False}], ids=["A1111", "Forge"])
class TestDenoiserWithUncond:
    x, sigma = noise_of(1, 2, 4, 3, 3) * 9, torch.full((2,), 9.0)

    def test_it_tells_uncond_and_puts_back(self, kept: dict):
        stub = StubDenoiser(**kept)
        before = fingerprint(stub), stub.need_last_noise_uncond
        model = DenoiserWithUncond(stub)
        torch.testing.assert_close(model(self.x, self.sigma, uncond="u"), self.x / 2)
        torch.testing.assert_close(model.last_uncond, self.x / 4)
        model.detach()
        model.detach()
        del stub.last_noise_uncond
        assert (fingerprint(stub), stub.need_last_noise_uncond) == before

    def test_what_inpainting_keeps_is_kept_here_too(self, kept: dict):
        mask = torch.zeros(4, 3, 3)
        mask[:, 0] = 1
        stub = StubDenoiser(mask=mask, nmask=1 - mask, init_latent=torch.full((2, 4, 3, 3), 7.0), **kept)
        model = DenoiserWithUncond(stub)
        model(self.x, self.sigma, uncond="u")
        assert (model.last_uncond[:, :, 0] == 7).all()
        torch.testing.assert_close(model.last_uncond[:, :, 1:], self.x[:, :, 1:] / 4)

    def test_no_uncond_at_all_is_an_error(self, kept: dict):
        with pytest.raises(UnsupportedError, match="CFG scale"):
            DenoiserWithUncond(StubDenoiser(**kept))(self.x, self.sigma, uncond=None)


def test_a_prediction_that_forge_left_out_is_the_guided_one():
    model = DenoiserWithUncond(StubDenoiser(classic_ddim_eps_estimation=False))
    x, sigma = TestDenoiserWithUncond.x, TestDenoiserWithUncond.sigma
    denoised = model(x, sigma, uncond="u", keeps=False)
    assert model.last_uncond is denoised or torch.equal(model.last_uncond, denoised)


def test_the_bar_and_the_hosts_callback_hear_each_step():
    strokes: list[int] = []

    class Bar:
        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            strokes.append(-1)

        def update(self) -> None:
            strokes.append(1)

    sampling = SimpleNamespace(trange=lambda steps, disable: Bar(), default_noise_sampler=k.default_noise_sampler)
    heard: list[int] = []
    euler = hosted(NAMED_SAMPLERS[0], sampling)
    euler(
        StubDenoiser(), TestDenoiserWithUncond.x, torch.tensor([9.0, 3.0, 0.0]), extra_args={"uncond": "u"}, disable=False,
        callback=lambda info: heard.append(info["i"]),
    )  # fmt: skip
    assert heard == [0, 1] and strokes == [1, 1, -1]
