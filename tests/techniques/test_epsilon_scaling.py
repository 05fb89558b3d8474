"""Epsilon scaling, against ComfyUI's, in each space and beside CFG++."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError
from lib_sdfm.ops.descent import denoised_for_uncond_renoise
from lib_sdfm.ops.flow import denoised_to_velocity
from lib_sdfm.sampling.plan import compose
from lib_sdfm.schema.infotext import read_infotext, write_infotext
from lib_sdfm.schema.payload import resolve_job
from tests.hosts.jobs import HOSTS, samples
from tests.support import noise_of
from tests.techniques.recorded_guidance import Case, assert_recorded, call, prediction, recorded, technique

EACH_HOST = pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
COND, UNCOND, NOISY = (noise_of(seed, 2, 4, 8, 6).double() for seed in (1, 2, 3))


@pytest.mark.parametrize("case", recorded("epsilon"), ids=lambda case: case.id)
def test_it_is_comfyuis(case: Case):
    cond, uncond, scale = case.inputs["cond"], case.inputs["uncond"], case.params["scale"]
    given = prediction(cond, uncond, scale, noisy=case.inputs["noisy"])
    one = technique("epsilon_scaling", factor=case.params["factor"])
    got = compose((one,), given, call(), lambda: uncond + (cond - uncond) * scale)
    assert_recorded(got, case.outputs["result"])


def test_a_flow_models_velocity_is_divided():
    given, flow = prediction(COND, UNCOND, 7.0, noisy=NOISY), call(sigma=3.0, flow_model=True)
    got = technique("epsilon_scaling", factor=1.25).scale_noise(COND, given, flow)
    x, t = NOISY / 4, 0.75
    torch.testing.assert_close(denoised_to_velocity(got, x, t), denoised_to_velocity(COND, x, t) / 1.25)


def test_it_comes_after_everything_but_cfgpps_renoising():
    given = prediction(COND, UNCOND, 0.6, noisy=NOISY)
    guided = COND * 2
    scaled = NOISY - (NOISY - technique("cfg_rescale").finish(guided, given, call())) / 1.1
    wanted = denoised_for_uncond_renoise(scaled, UNCOND, 0.4)
    chosen = technique("cfgpp"), technique("epsilon_scaling", factor=1.1), technique("cfg_rescale")
    torch.testing.assert_close(compose(chosen, given, call(ratio=0.4), lambda: guided), wanted)


@EACH_HOST
@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
@pytest.mark.parametrize("cfg", [1.0, 7.0])
def test_it_works_at_any_cfg_and_1_is_off(make, sampler: str, cfg: float):
    host, job = make(), {"sampler_name": sampler, "cfg_scale": cfg}
    plain = samples(host, **job)
    assert torch.equal(samples(host, {"epsilon_scaling": {"factor": 1}}, **job), plain)
    assert (samples(host, {"epsilon_scaling": {"factor": 1.1}}, **job) - plain).std() > 1e-3


@EACH_HOST
def test_a_step_leaves_less_noise(make):
    """Euler's one step to 0 gives the denoised image: the latent itself minus the noise divided by the factor."""
    host = make()
    plain = samples(host, steps=1)

    def scaled(factor: float) -> Tensor:
        return samples(host, {"epsilon_scaling": {"factor": factor}}, steps=1)

    torch.testing.assert_close((scaled(1.25) - plain) * 2.5, (scaled(2 / 3) - plain) * -1, rtol=1e-3, atol=1e-2)


def test_its_key_holds_its_factor():
    settings = resolve_job(SCHEMA, [{"epsilon_scaling": {"factor": 1.02, "hires_factor": 1.01}}]).settings
    pairs = {key: str(value) for key, value in write_infotext(SCHEMA, settings).items()}
    assert pairs == {"SDFM Epsilon Scaling": "1.02", "SDFM Epsilon Scaling Hires": "1.01", "SDFM": "1"}
    assert SCHEMA.settings(read_infotext(SCHEMA, pairs).values) == settings
    with pytest.raises(SettingError, match="SDFM Epsilon Scaling: 0 is not valid. Allowed: a number from 0.5 to 1.5"):
        resolve_job(SCHEMA, [{"epsilon_scaling": {"factor": 0}}])
