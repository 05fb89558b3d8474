"""Flow models that the host samples itself ("const" predictors of Forge and Forge Neo): all techniques in the model's own time.

What they are compared with is the same model on a host that takes it for an eps model, with SDFM's flow matching, which
works in noise levels.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import k_diffusion.sampling as k
import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.forge.space import ForgeSpace
from lib_sdfm.hosts.named_samplers import NAMED_SAMPLERS, hosted, hosted_ddim
from lib_sdfm.ops.flow import LATEST_TIME, sigma_to_time, time_to_sigma
from lib_sdfm.sampling.host_flow import HostFlow
from sdfm_webui.errors import SdfmError
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.fake_neo import NeoHost, sample_euler_cfg_pp
from tests.hosts.flow_hosts import with_kinds
from tests.hosts.jobs import SdfmScript, new_forge, samples, unet_for
from tests.hosts.test_steps import WatchingScript
from tests.hosts.variety import Variety
from tests.support import noise_of

STEPS = 5
TIMES = torch.tensor([LATEST_TIME, 0.93, 0.8, 0.55, 0.25, 0.0], dtype=torch.float64)
JOB = {"sampler_name": "Euler", "steps": STEPS, "cfg_scale": 5.0}
TECHNIQUES: dict[str, dict[str, Any]] = {
    "PAG": {"pag": {"scale": 2}},
    "adaptive PAG": {"pag": {"scale": 2, "adaptive": 0.2}},
    "SEG": {"seg": {"scale": 2}},
    "TPG": {"tpg": {"layers": "output.0"}},
    "TPG in a noise window": {"tpg": {"layers": "output.0", "sigma_from": 5, "sigma_to": 0.5}},
    "NAG": {"nag": {}},
    "NAG in a noise window": {"nag": {"sigma_to": 2}},
    "FreeU": {"freeu": {}},
    "CFG rescale": {"cfg_rescale": {}},
    "thresholding": {"dynamic_thresholding": {"mimic_scale": 2, "percentile": 90}},
    "CFG interval of noise levels": {"cfg_schedule": {"schedule": "Interval"}},
    "APG": {"apg": {"norm_threshold": 2}},
    "FDG with projection": {"fdg": {"project": True}},
    "MaHiRo": {"mahiro": {}},
    "CFG-Zero*": {"cfg_zero": {}},
    "epsilon scaling": {"epsilon_scaling": {"factor": 1.03}},
    "adaptive guidance": {"adaptive_guidance": {"threshold": 0.5}},
    "CFG++": {"cfgpp": {}},
    "CFG++ and rescaled PAG": {"cfgpp": {}, "pag": {"scale": 0.2, "rescale": 0.5}, "cfg_rescale": {}},
}


def neo(variety: Variety = Variety()) -> NeoHost:
    host = NeoHost(unet_for(variety), variety)
    host.sdfm = SdfmScript(host)
    host.times = TIMES.float()
    return host


@pytest.fixture
def host() -> NeoHost:
    return neo()


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ForgeHost:
    monkeypatch.setattr("lib_sdfm.hosts.kind_pass.times_to_sigmas", lambda *args: time_to_sigma(TIMES).tolist())
    return with_kinds(new_forge(), tmp_path)


def assert_close(one: Tensor, two: Tensor, share: float = 2e-3) -> None:
    torch.testing.assert_close(one, two, rtol=0, atol=share * float(two.abs().max()))


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_technique_acts_as_in_noise_levels(host: NeoHost, other: ForgeHost, name: str):
    plain, wanted = samples(host, **JOB), samples(other, {"flow": {"shift": 3}, **TECHNIQUES[name]}, **JOB)
    made = samples(host, TECHNIQUES[name], **JOB)
    assert_close(made, wanted)
    assert (made - plain).abs().max() > 5e-3 * plain.abs().max()
    assert torch.equal(samples(host, **JOB), plain)


@pytest.mark.parametrize("first", [LATEST_TIME, 1.0], ids=["almost noise", "pure noise"])
def test_cfgpp_is_the_host_s_own_euler_cfgpp(host: NeoHost, first: float):
    host.times[0] = first
    theirs = samples(host, **{**JOB, "sampler_name": "Euler CFG++", "cfg_scale": 0.6})
    assert_close(samples(host, {"cfgpp": {"scale": 0.6}}, **JOB), theirs, 1e-5)
    host.sampler_functions = {**host.sampler_functions, "ours": (hosted(named("Euler CFG++"), k), {})}
    assert_close(samples(host, **{**JOB, "sampler_name": "ours", "cfg_scale": 0.6}), theirs, 5e-4)


def test_the_host_s_own_cfgpp_samplers_keep_their_unconditional_prediction(host: NeoHost):
    """CFG 1 is another number there, and the row that adaptive guidance leaves out is what they renoise with."""
    job = {**JOB, "sampler_name": "Euler CFG++", "cfg_scale": 0.6}
    with pytest.raises(SdfmError, match="renoises with the unconditional prediction in every step"):
        samples(host, {"adaptive_guidance": {}}, **job)
    with pytest.raises(SdfmError, match=r"CFG\+\+: Euler CFG\+\+ renoises with the unconditional prediction itself"):
        samples(host, {"cfgpp": {}}, **job)
    assert not samples(host, {"pag": {"scale": 0.3}}, **job).allclose(samples(host, **job), atol=1e-2)


def named(name: str) -> Any:
    return next(entry for entry in NAMED_SAMPLERS if entry.name == name)


@pytest.mark.parametrize("name", [entry.name for entry in NAMED_SAMPLERS])
def test_named_samplers_are_those_in_noise_levels(host: NeoHost, other: ForgeHost, name: str):
    for each in (host, other):
        each.sampler_functions = {**each.sampler_functions, name: (hosted(named(name), k), dict(named(name).options))}
    job = {**JOB, "sampler_name": name, "cfg_scale": 0.6}
    made = samples(host, **job)
    assert made.isfinite().all()
    assert_close(made, samples(other, {"flow": {"shift": 3}}, **job))


def test_cfgpp_on_euler_a(host: NeoHost):
    reference = functools.partial(sample_euler_cfg_pp, eta=1.0)
    host.sampler_functions = {**host.sampler_functions, "reference": (reference, {})}
    wanted = samples(host, **{**JOB, "sampler_name": "reference", "cfg_scale": 0.6})
    assert_close(samples(host, {"cfgpp": {"scale": 0.6}}, **{**JOB, "sampler_name": "Euler a"}), wanted, 1e-5)


@pytest.mark.parametrize("sampler", ["UniPC", "DPM++ 2M", "Heun", "LMS"])
def test_cfgpp_acts_with_other_samplers(host: NeoHost, sampler: str):
    made = samples(host, {"cfgpp": {"scale": 0.6}}, **{**JOB, "sampler_name": sampler})
    assert made.isfinite().all() and not made.allclose(samples(host, **{**JOB, "sampler_name": sampler}), atol=1e-2)


@pytest.mark.parametrize("sampler", ["DDIM", "DPM fast", "PLMS"])
def test_cfgpp_names_samplers_whose_steps_are_unknown_here(host: NeoHost, sampler: str):
    with pytest.raises(SdfmError, match=rf"CFG\+\+: the steps of {sampler} with this WebUI's flow models are unknown.*Euler, "):
        samples(host, {"cfgpp": {}}, **{**JOB, "sampler_name": sampler})


def test_ddim_cfgpp_is_refused(host: NeoHost):
    host.sampler_functions = {**host.sampler_functions, "ours": (hosted_ddim(k), {})}
    with pytest.raises(Exception, match="no table of timesteps"):
        samples(host, **{**JOB, "sampler_name": "ours"})


def test_forge_s_ancestral_samplers_don_t_know_them(host: NeoHost, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.hosts.fake_neo.NEO", HostFlow(adds_noise_right=False))
    with pytest.raises(SdfmError, match="the steps of Euler a with this WebUI's flow models"):
        samples(host, {"cfgpp": {}}, **{**JOB, "sampler_name": "Euler a"})
    assert samples(host, {"cfgpp": {}}, **JOB).isfinite().all()


def test_a_schedule_with_two_zeros_ends_at_the_first(host: NeoHost):
    host.times = torch.cat([host.times, host.times.new_zeros(1)])
    job = {**JOB, "steps": STEPS + 1, "sampler_name": "ours", "cfg_scale": 0.6}
    for name in ("Euler CFG++", "DPM++ 2M CFG++", "DPM++ 2S Ancestral CFG++"):
        host.sampler_functions = {**host.sampler_functions, "ours": (hosted(named(name), k), {})}
        assert samples(host, **job).isfinite().all()
    samples(host, {"cfgpp": {}}, **{**JOB, "steps": STEPS + 1})  # the host's own Euler divides 0 by 0 here, and no one else


def test_techniques_are_told_time_and_noise_level(host: NeoHost):
    script = WatchingScript(host)
    host.run(host.processing(host, scripts=[script], **JOB))
    steps = script.watcher.steps
    assert [step.timestep for step in steps] == pytest.approx([1000 * t for t in TIMES[:-1].tolist()], rel=1e-4)
    assert [sigma_to_time(step.sigma) for step in steps] == pytest.approx(TIMES[:-1].tolist(), rel=1e-4)
    assert all(step.flow_model for step in steps)


@pytest.mark.parametrize(
    "settings", [{"enable_hr": True}, {"init_latent": torch.zeros(1, 4, 8, 8)}, {"batch_size": 2}], ids=str
)
def test_other_kinds_of_jobs(host: NeoHost, settings: dict):
    host.times = None
    request = {"cfgpp": {}, "cfg_rescale": {}, "epsilon_scaling": {"factor": 1.02}}
    assert samples(host, request, **JOB, **settings).isfinite().all()


def test_flow_matching_is_left_to_the_host(host: NeoHost, tmp_path: Path):
    with_kinds(host, tmp_path)
    with pytest.raises(SdfmError, match="Flow matching: this is a flow model that the WebUI already samples as one"):
        samples(host, {"flow": {"shift": 3}}, **JOB)


class Transformer(nn.Module):
    """A diffusion model without a UNet's blocks, as Flux and SD3.5 have it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, transformer_options: dict, y: Any = None) -> Tensor:
        flat = x.reshape(len(x), 4, -1, x.shape[-1])
        text = context[:, 0, :4].view(-1, 4, 1, 1)
        return self.layer(flat * (1 + text)).reshape(x.shape)


IN_UNET = {"pag": "PAG", "seg": "SEG", "freeu": "FreeU", "tpg": "TPG", "nag": "NAG"}


@pytest.fixture
def transformer(host: NeoHost) -> NeoHost:
    torch.manual_seed(3)
    host.sd_model.kmodel.diffusion_model = Transformer()
    return host


@pytest.mark.parametrize("name", IN_UNET)
def test_without_a_unet_its_techniques_are_refused_by_name(transformer: NeoHost, name: str):
    plain = samples(transformer, **JOB)
    with pytest.raises(SdfmError, match=rf"SDFM: {IN_UNET[name]}: this model is not a Stable Diffusion UNet \(Transformer\)"):
        samples(transformer, {name: {}}, **JOB)
    assert torch.equal(samples(transformer, **JOB), plain)


GUIDING = {"cfgpp", "cfg_rescale", "dynamic_thresholding", "apg", "fdg", "mahiro", "cfg_zero", "epsilon_scaling"}


@pytest.mark.parametrize("name", sorted(GUIDING))
def test_without_a_unet_the_others_act(transformer: NeoHost, name: str):
    request = {name: {"mimic_scale": 2} if name == "dynamic_thresholding" else {}}
    assert not samples(transformer, request, **JOB).allclose(samples(transformer, **JOB), atol=1e-4)


@pytest.mark.parametrize("in_eps", [False, True])
def test_a_video_model_s_single_frame_is_a_picture(in_eps: bool):
    x, denoised, sigma = noise_of(1, 2, 4, 1, 8, 8), noise_of(2, 2, 4, 1, 8, 8), torch.full((2,), 0.5)
    space = ForgeSpace(x, sigma, in_eps, in_time=True)
    assert space.enter(denoised).shape == (2, 4, 8, 8)
    torch.testing.assert_close(space.noisy, x[:, :, 0] * 2)
    torch.testing.assert_close(space.leave(space.enter(denoised)), denoised)
    with pytest.raises(UnsupportedError, match="several frames"):
        ForgeSpace(x.expand(2, 4, 3, 8, 8), sigma, in_eps)
