"""The technique CFG++: its formula, against samplers that do it themselves, with every sampler, and what it refuses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import k_diffusion.sampling as k
import pytest
import torch
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import SettingError, UnsupportedError
from lib_sdfm.ops import cfgpp_samplers
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.plan import Plan, compose, guidance_scale
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.sampling.sampler_names import require_spans
from lib_sdfm.sampling.sampler_record import EXACT
from lib_sdfm.sampling.samplers import SAMPLERS as ROWS
from lib_sdfm.schema.infotext import read_infotext, write_infotext
from lib_sdfm.schema.payload import resolve_job
from lib_sdfm.techniques.cfg_schedule import CfgSchedule, CfgScheduleSettings
from lib_sdfm.techniques.cfgpp import CfgPlusPlus, CfgPlusPlusSettings
from sdfm_webui.errors import SdfmError
from tests.analytic import RECORDED, SIGMAS, START, AnalyticModel, NoiseInTurn, recorded
from tests.hosts.fake_a1111 import SAMPLERS, Host, prompt
from tests.hosts.jobs import new_forge, new_host, samples
from tests.pairs import in_pairs
from tests.support import noise_of

PREDICTION = Prediction(
    cond=noise_of(1, 2, 4, 3, 3), uncond=noise_of(2, 2, 4, 3, 3), weights=torch.ones(2), images=torch.arange(2), cfg_scale=0.6
)
DENOISED = noise_of(3, 2, 4, 3, 3)


def technique(scale: float = 0.6) -> CfgPlusPlus:
    return CfgPlusPlus(CfgPlusPlusSettings(scale), "sdfm")


def step(ratio: float | None, **more: Any) -> ModelCall:
    return ModelCall(index=0, total=10, sigma=2.0, timestep=600.0, ratio=ratio, **more)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.9])
def test_the_samplers_own_step_renoises_with_uncond(ratio: float):
    changed = technique().renoise(DENOISED, PREDICTION, step(ratio))
    x = noise_of(4, 2, 4, 3, 3) * 2
    torch.testing.assert_close(changed + (x - changed) * ratio, DENOISED + (x - PREDICTION.uncond) * ratio)


@pytest.mark.parametrize("ratio", [1.0, 1.7])
def test_a_step_that_goes_up_is_left_alone(ratio: float):
    assert technique().renoise(DENOISED, PREDICTION, step(ratio)) is DENOISED


def test_an_unknown_step_is_an_error():
    with pytest.raises(UnsupportedError, match="are unknown"):
        technique().renoise(DENOISED, PREDICTION, step(None))


def test_it_is_the_last_and_has_all_guidance_in_it():
    class Adds(CfgSchedule):
        def correct(self, denoised: Tensor, prediction: Prediction, call: ModelCall) -> Tensor:
            return denoised + 1

    after = Adds(CfgScheduleSettings(), "sdfm")
    together = compose((technique(), after), PREDICTION, step(0.5), lambda: DENOISED)
    torch.testing.assert_close(together, technique().renoise(DENOISED + 1, PREDICTION, step(0.5)))


class TestTheScale:
    def test_is_lambda(self):
        assert guidance_scale((technique(0.4),), 7.0, step(0.5)) == 0.4

    @pytest.mark.parametrize(("sigma", "scale"), [(2.0, 0.8), (9.0, 1 / 12.5)])
    def test_an_interval_leaves_what_corresponds_to_cfg_1_outside(self, sigma: float, scale: float):
        interval = CfgSchedule(CfgScheduleSettings("Interval"), "sdfm")
        at = ModelCall(index=0, total=10, sigma=sigma, timestep=600.0, ratio=0.5)
        assert guidance_scale((technique(0.8), interval), 7.0, at) == pytest.approx(scale)

    def test_schedules_are_of_the_cfg_scale_that_corresponds(self):
        clamped = CfgSchedule(CfgScheduleSettings("Clamp-Linear (c=4.0)"), "sdfm")
        late = ModelCall(index=9, total=10, sigma=0.1, timestep=60.0, ratio=0.5)
        assert guidance_scale((technique(0.8), clamped), 7.0, late) == pytest.approx(4 / 12.5)


class Changed(AnalyticModel):
    """The analytic model with the technique on it, as the adapters compose it."""

    def __init__(self, scale: float, ratios: list[float]) -> None:
        super().__init__(scale)
        self.ratios = iter(ratios)

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        denoised = super().__call__(x, sigma)
        prediction = Prediction(denoised, self.last_uncond, torch.ones(2), torch.arange(2), self.scale)
        return technique().renoise(denoised, prediction, step(next(self.ratios)))


def through_technique(sampler: Callable[..., Tensor], scale: float = 0.6, **options: Any) -> Tensor:
    arguments = inspect.signature(sampler).bind(None, START, SIGMAS, **options)
    arguments.apply_defaults()
    ratios = [end / start for start, end in require_spans("", sampler.__name__)(arguments.arguments)]
    return sampler(Changed(scale, ratios), START, SIGMAS, disable=True, **options)


@pytest.mark.parametrize("scale", [0.6, 1.0])
def test_with_euler_it_is_the_sampler_euler_cfgpp(scale: float):
    made = through_technique(k.sample_euler, scale)
    torch.testing.assert_close(made, cfgpp_samplers.sample_euler_cfgpp(AnalyticModel(scale), START, SIGMAS), atol=1e-10, rtol=0)
    torch.testing.assert_close(made, recorded(RECORDED["final"][f"euler_cfg_pp scale={scale} "]), atol=1e-10, rtol=0)


@pytest.mark.parametrize("eta", [0, 1])
def test_with_euler_a_it_is_the_sampler_euler_ancestral_cfgpp(eta: int):
    made = through_technique(k.sample_euler_ancestral, eta=float(eta), noise_sampler=NoiseInTurn())
    wanted = recorded(RECORDED["final"][f"euler_ancestral_cfg_pp scale=0.6 eta={eta}"])
    torch.testing.assert_close(made, wanted, atol=1e-10, rtol=0)


HOSTS = [pytest.param(new_host, id="A1111"), pytest.param(new_forge, id="Forge")]
WORKING = [name for name in SAMPLERS if name not in ("DPM adaptive", "DDIM CFG++")]


@pytest.mark.parametrize("new", HOSTS)
@pytest.mark.parametrize("sampler_name", WORKING)
def test_equal_prompts_change_nothing(new: Callable[[], Host], sampler_name: str):
    host = new()
    equal = {"conds": [[(prompt(0), 1.0)]], "sampler_name": sampler_name, "steps": 5}
    plain, changed = (samples(host, request, **equal) for request in (None, {"cfgpp": {}}))
    torch.testing.assert_close(changed, plain, rtol=1e-3, atol=1e-3)


@in_pairs(new={"A1111": new_host, "Forge": new_forge}, steps=[1, 5], sampler_name=WORKING)
def test_every_sampler_stays_finite_and_is_guided(new: Callable[[], Host], sampler_name: str, steps: int):
    host = new()
    plain, changed = (samples(host, request, sampler_name=sampler_name, steps=steps) for request in (None, {"cfgpp": {}}))
    assert changed.isfinite().all()
    makes_none = sampler_name in ("DDIM", "PLMS") and steps == 1  # these make a step less than timesteps
    assert makes_none or not changed.allclose(plain, atol=1e-3)


@pytest.mark.parametrize("new", HOSTS)
def test_the_cfg_scale_is_of_no_account(new: Callable[[], Host]):
    host = new()
    low, high = (samples(host, {"cfgpp": {}}, cfg_scale=scale) for scale in (2.0, 9.0))
    torch.testing.assert_close(low, high)


def test_with_ddim_it_is_a1111s_ddim_cfgpp():
    host = new_host()
    theirs = samples(host, sampler_name="DDIM CFG++", cfg_scale=7.5, steps=6)
    ours = samples(host, {"cfgpp": {"scale": 0.6}}, sampler_name="DDIM", cfg_scale=3.0, steps=6)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("new", HOSTS)
def test_the_hires_pass_and_img2img_too(new: Callable[[], Host]):
    host = new()
    for settings in ({"enable_hr": True, "steps": 4}, {"init_latent": torch.zeros(1, 4, 8, 8), "steps": 4}):
        plain, changed = (samples(host, request, **settings) for request in (None, {"cfgpp": {}}))
        assert not changed.allclose(plain, atol=1e-3)


def refused(host: Host, request: dict | None = None, **settings: Any) -> str:
    with pytest.raises(SdfmError) as caught:
        samples(host, request or {"cfgpp": {}}, **settings)
    return str(caught.value)


@pytest.mark.parametrize("new", HOSTS)
@pytest.mark.parametrize("sampler_name", ["DPM adaptive", "DDIM CFG++"])
def test_samplers_that_cannot_be_are_refused_by_name(new: Callable[[], Host], sampler_name: str):
    host = new()
    message = refused(host, sampler_name=sampler_name)
    assert sampler_name in message and "CFG++" in message
    assert not host.samplers[-1].model_wrap_cfg.step  # before the first call


def test_forges_cfg_1_is_refused():
    assert "CFG scale 1" in refused(new_forge(), cfg_scale=1.0)


def test_recipe_original_has_none():
    with pytest.raises(SettingError, match="CFG\\+\\+"):
        resolve_job(SCHEMA, [{"recipe": "original", "cfgpp": {}}])


@pytest.mark.parametrize("scale", [0.6, 1.0, 0.0])
def test_the_text_says_lambda(scale: float):
    settings = resolve_job(SCHEMA, [{"cfgpp": {"scale": scale}}]).settings
    pairs = {key: str(value) for key, value in write_infotext(SCHEMA, settings).items()}
    assert pairs == {"CFGpp Scale": f"{scale:g}", "SDFM": "1"}
    assert SCHEMA.settings(read_infotext(SCHEMA, pairs).values) == settings


def test_bad_values_are_named():
    with pytest.raises(SettingError, match="CFGpp Scale.*3.*0 to 2"):
        resolve_job(SCHEMA, [{"cfgpp": {"scale": 3}}])
    assert read_infotext(SCHEMA, {"CFGpp Scale": "much", "SDFM": "1"}).errors


def test_only_it_needs_the_length_of_steps():
    assert Plan("sdfm", (technique(),)).needs_ratio
    assert not any(t.needs_ratio for t in SCHEMA.techniques if issubclass(t, Technique) and t is not CfgPlusPlus)
    assert Technique.needs_ratio is False
    assert {"Euler", "Euler a", "DDIM"} <= {row.name for row in ROWS if row.grade == EXACT}
