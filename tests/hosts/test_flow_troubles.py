"""Flow matching where something is wrong or coarse: models that can't be flow models, changes in the middle, half precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lib_sdfm.hosts.a1111.model_kind import A1111FlowModel
from lib_sdfm.hosts.model_kind import kind_of
from lib_sdfm.sampling.model_kind import FLOW, ModelKind
from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Host
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.flow_hosts import FLOW_HOSTS, FlowUnet, error, flow_forge, named
from tests.hosts.jobs import job, samples
from tests.support import noise_of, stable_diffusion_alphas

ON = {"flow": {"shift": 3}}
HOSTS = FLOW_HOSTS


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return HOSTS[request.param](tmp_path)


def target(host: Host) -> object:
    return host.sdfm.kinds.target(host.sd_model)


def flux(host: ForgeHost) -> None:
    host.sd_model.kmodel.predictor.prediction_type = "const"


def inpainting(host: ForgeHost) -> None:
    host.sd_model.kmodel.diffusion_model.config = {"in_channels": 9}


def no_table(host: ForgeHost) -> None:
    host.sd_model.kmodel.predictor.sigmas = torch.ones(10)


def no_unet(host: ForgeHost) -> None:
    host.sd_model.kmodel.diffusion_model = torch.nn.Identity()


@pytest.mark.parametrize(
    "change, match",
    [
        (flux, "already samples as one"),
        (inpainting, "inpainting"),
        (no_table, "not a Stable Diffusion UNet"),
        (no_unet, "not a"),
    ],
)
def test_forge_s_models_that_can_t_be_flow_models(tmp_path: Path, change: Callable[[ForgeHost], None], match: str):
    host = flow_forge(tmp_path)
    change(host)
    predictor = host.sd_model.kmodel.predictor
    with pytest.raises(SdfmError, match=f"{match}.*flow matching to Off, or the model kind to Automatic"):
        host.run(job(host, ON, steps=2))
    assert kind_of(target(host)) is None and host.sd_model.kmodel.predictor is predictor


def test_another_checkpoint_s_weights_in_the_middle_of_a_run(host: Host):
    """An in-place reload by somebody else: the noise levels of the rest are unknown to what is loaded now."""
    before = samples(host, None, steps=3, cfg_scale=1.5)

    def switch(params: object) -> None:
        host.sd_model.sd_checkpoint_info = named("second")
        host.sdfm.kinds.model_loaded(host.sd_model)

    host.on_cfg_denoiser.insert(0, switch)
    with pytest.raises(SdfmError, match="is not a flow model"):
        samples(host, ON, sampler_name="Euler", steps=4, cfg_scale=1.5)
    host.on_cfg_denoiser.remove(switch)
    assert kind_of(target(host)) is None
    assert torch.equal(samples(host, None, steps=3, cfg_scale=1.5), before)


@pytest.mark.parametrize("call", [0, 1])
def test_an_interrupt_leaves_the_edge_as_it_is_and_nothing_else(host: Host, call: int):
    before = samples(host, None, steps=3, cfg_scale=1.5)
    wanted = samples(host, ON, steps=3, cfg_scale=1.5)
    seen: list[object] = []

    def stop(params: object) -> None:
        seen.append(params)
        if len(seen) > call:
            raise KeyboardInterrupt

    host.on_cfg_denoiser.append(stop)
    with pytest.raises(KeyboardInterrupt):
        samples(host, ON, steps=3, cfg_scale=1.5)
    host.on_cfg_denoiser.remove(stop)
    assert kind_of(target(host)).shift == 3
    assert torch.equal(samples(host, ON, steps=3, cfg_scale=1.5), wanted)
    assert torch.equal(samples(host, None, steps=3, cfg_scale=1.5), before)


class HalfUnet(FlowUnet):
    """In half precision: it gets latents and times of eleven bits, and gives such velocities."""

    def forward(self, x: Tensor, timesteps: Tensor, *args: object, **more: object) -> Tensor:
        return super().forward(x.half().float(), timesteps.half().float()).half()


@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DPM++ 2M", "DDIM", "LMS"])
def test_half_precision_is_as_good(host: Host, sampler: str):
    settings = {"sampler_name": sampler, "steps": 20, "cfg_scale": 1.5}
    whole, start = samples(host, ON, **settings), job(host, None, **settings).noise(8, 8)
    host.diffusion_model = HalfUnet()
    half = samples(host, ON, **settings)
    assert half.isfinite().all() and float((half - whole).abs().median()) < 2e-3
    assert error(half, start) < 1.1 * error(whole, start) + 2e-3


def model_with_tables() -> nn.Module:
    """A model with the buffers that LDM registers besides its noise table."""
    model = nn.Module()
    alphas = stable_diffusion_alphas()
    model.register_buffer("alphas_cumprod", alphas)
    model.register_buffer("sqrt_alphas_cumprod", alphas.sqrt())
    model.register_buffer("sqrt_one_minus_alphas_cumprod", (1 - alphas).sqrt())
    model.register_buffer("sqrt_recip_alphas_cumprod", (1 / alphas).sqrt())
    model.register_buffer("sqrt_recipm1_alphas_cumprod", (1 / alphas - 1).sqrt())
    model.apply_model = lambda *args, **kwargs: None
    model.parameterization = "eps"
    return model


def test_tables_that_extensions_index_with_the_unets_time_are_the_flows():
    """ControlNet's reference modes and colour fix, with LDM's formulas and times up to 1000."""
    model = model_with_tables()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = A1111FlowModel(model, "checkpoint", ModelKind(FLOW, shift=3.0))
    x0, noise = noise_of(1, 4), noise_of(2, 4)
    for time in (1, 250, 1000):
        t = time / 1000
        mixed = model.sqrt_alphas_cumprod[time] * x0 + model.sqrt_one_minus_alphas_cumprod[time] * noise
        torch.testing.assert_close(mixed, (1 - t) * x0 + t * noise)
        recip, recipm1 = model.sqrt_recip_alphas_cumprod[time], model.sqrt_recipm1_alphas_cumprod[time]
        torch.testing.assert_close(recip * mixed - recipm1 * (noise - x0), x0)
        torch.testing.assert_close((recip * mixed - x0) / recipm1, noise - x0)
    assert model.load_state_dict(before)  # weights loaded in place find the buffers that they expect
    own = model.__dict__["sqrt_alphas_cumprod"] = before["sqrt_alphas_cumprod"] * 2
    adapter.assert_in_place()
    assert len(model.sqrt_alphas_cumprod) == 1001
    adapter.detach()
    assert model.sqrt_alphas_cumprod is own
    del model.__dict__["sqrt_alphas_cumprod"]
    assert all(torch.equal(getattr(model, name), value) for name, value in before.items())
