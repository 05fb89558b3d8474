"""CFG schedules where the CFG scale is CFG++'s lambda: "CFG 1" and the clamps mean 1/12.5 of it, as with the technique."""

from __future__ import annotations

from typing import Any

import k_diffusion.sampling as k
import pytest
import torch
from torch import Tensor

from lib_sdfm.hosts.named_samplers import DDIM_CFGPP, NAMED_SAMPLERS
from lib_sdfm.hosts.run import Run
from lib_sdfm.ops.schedules import SCHEDULES
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.plan import Plan
from lib_sdfm.techniques.cfg_schedule import CfgSchedule, CfgScheduleSettings
from lib_sdfm.techniques.cfgpp import CfgPlusPlus, CfgPlusPlusSettings
from tests.hosts.fake_a1111 import Host
from tests.hosts.jobs import HOSTS, new_forge, new_host, samples
from tests.hosts.test_named_samplers import with_named_samplers
from tests.hosts.test_steps import WatchingScript
from tests.pairs import in_pairs, in_turn
from tests.support import noise_of

NAMES = [named.name for named in NAMED_SAMPLERS]
PLAIN = {"Euler CFG++": "Euler", "Euler Ancestral CFG++": "Euler a"}
LAMBDA = 0.6
RANGES = [{"schedule": "Interval"}, {"low": 0.5, "high": 5.0}, {"schedule": "Linear", "low": 1.0}]
SETTINGS = [{"schedule": name} for name in SCHEDULES if name not in ("Constant", "Interval")] + RANGES
CLAMP = {"schedule": "Clamp-Cosine (c=2.0)"}
IDS = [str(settings) for settings in SETTINGS]
PICTURES = [
    {}, {"enable_hr": True, "hr": LAMBDA}, {"init_latent": noise_of(1, 1, 4, 8, 8), "denoising_strength": 0.8},
    {"batch_size": 2},
]  # fmt: skip


@pytest.fixture(params=HOSTS.values(), ids=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return with_named_samplers(request.param())


def picture(host: Host, sampler: str, request: dict, cfg_scale: float, hr: float | None = None, **settings: Any) -> Tensor:
    own = {"hr_cfg": hr} if hr is not None and hasattr(host.processing, "hr_cfg") else {}
    return samples(host, request, **{"sampler_name": sampler, "cfg_scale": cfg_scale, "steps": 6, **own, **settings})


def assert_equal(named: Tensor, technique: Tensor) -> None:
    torch.testing.assert_close(named, technique, rtol=0, atol=3e-5 * float(technique.abs().max()))


@in_turn(make=HOSTS, name=list(PLAIN), settings=dict(zip(IDS, SETTINGS)))
def test_a_schedule_with_the_named_sampler_is_the_schedule_with_the_technique(make: Any, name: str, settings: dict):
    """With Linear lambda is 1 at step 1 of 6, where Forge takes a shortcut."""
    host = with_named_samplers(make())
    named = picture(host, name, {"cfg_schedule": settings}, LAMBDA)
    assert_equal(named, picture(host, PLAIN[name], {"cfg_schedule": settings, "cfgpp": {"scale": LAMBDA}}, 5.0))
    nearly_constant = settings["schedule"] in ("PCS (s=0.01)", "PCS (s=0.1)") if "schedule" in settings else False
    assert named.allclose(picture(host, name, {}, LAMBDA), atol=1e-3) == nearly_constant


@in_pairs(
    make=HOSTS,
    job=dict(zip(["txt2img", "hires", "img2img", "batch"], PICTURES)),
    settings=[{"schedule": "Interval"}, {"schedule": "Clamp-Linear (c=4.0)"}],
)
def test_in_every_kind_of_job(make: Any, job: dict, settings: dict):
    host = with_named_samplers(make())
    named = picture(host, "Euler CFG++", {"cfg_schedule": settings}, LAMBDA, **job)
    technique = {"cfg_schedule": settings, "cfgpp": {"scale": LAMBDA}}
    assert_equal(named, picture(host, "Euler", technique, 5.0, **{**job, **({"hr": 5.0} if "hr" in job else {})}))


@pytest.mark.parametrize("other", [{"pag": {"scale": 0.25}}, {"seg": {"scale": 0.25}}, {"cfg_rescale": {}}], ids=str)
def test_other_scales_are_not_multiplied(host: Host, other: dict):
    request = {"cfg_schedule": {"schedule": "Interval"}, **other}
    named = picture(host, "Euler CFG++", request, LAMBDA)
    assert_equal(named, picture(host, "Euler", {**request, "cfgpp": {"scale": LAMBDA}}, 5.0))
    assert not named.allclose(picture(host, "Euler CFG++", {"cfg_schedule": request["cfg_schedule"]}, LAMBDA), atol=1e-3)


class Scales(Technique):
    """Writes down noise level and scale of every call."""

    name, label, title, summary = "scales", "Scales", "Scales", ""

    def __init__(self) -> None:
        super().__init__(None, "sdfm")
        self.seen: dict[int, tuple[float, float]] = {}

    def active(self, call: ModelCall) -> bool:
        return True

    def needs_level(self) -> bool:
        return True

    def guidance_scale(self, scale: float, call: ModelCall) -> float:
        self.seen[call.host.run_call] = call.sigma, scale  # a host may ask twice in a call
        return scale


class ScaleScript(WatchingScript):
    """Samples each batch with a schedule, with the technique or without."""

    def __init__(self, host: Host, settings: CfgScheduleSettings, technique: bool) -> None:
        super().__init__(host)
        self.watcher = Scales()
        schedule = CfgSchedule(settings, "sdfm")
        self.techniques = [*([CfgPlusPlus(CfgPlusPlusSettings(LAMBDA), "sdfm")] if technique else []), schedule, self.watcher]

    def before_process(self, p: Any) -> None:
        run = Run(Plan("sdfm", tuple(self.techniques)), p, self.host.new_pass)
        own_sample = p.sample
        p.sample = lambda **kwargs: run.sample(own_sample, **kwargs)
        self.before_pass, self.host.on_cfg_denoiser = run.before_pass, [run.before_call]


def scales_of(host: Host, sampler: str, settings: dict, technique: bool) -> list[tuple[float, float]]:
    script = ScaleScript(host, CfgScheduleSettings(**settings), technique)
    cfg_scale = 5.0 if technique else LAMBDA
    host.run(host.processing(host, scripts=[script], sampler_name=sampler, cfg_scale=cfg_scale, steps=6))
    assert not host.swallowed
    return list(script.watcher.seen.values())


COUNTERPARTS = {
    **PLAIN, "DPM++ 2M CFG++": "DPM++ 2M", "DPM++ 2S Ancestral CFG++": "DPM++ 2S a", "DPM++ SDE CFG++": "DPM++ SDE",
    "DPM++ 2M SDE CFG++": "DPM++ 2M SDE", "DPM++ 3M SDE CFG++": "DPM++ 3M SDE",
}  # fmt: skip
"""The plain samplers; the others step as Euler does."""


@in_turn(make=HOSTS, name=2 * NAMES, settings=len(NAMES) * [{"schedule": "Interval"}] + len(NAMES) * [CLAMP])
def test_lambda_of_every_model_call_is_the_technique_s(make: Any, name: str, settings: dict):
    host = with_named_samplers(make())
    plain = {"DPM++ 2M SDE": (k.sample_dpmpp_2m_sde, {}), "DPM++ 3M SDE": (k.sample_dpmpp_3m_sde, {})}
    host.sampler_functions = {**host.sampler_functions, **plain}
    named = scales_of(host, name, settings, technique=False)
    wanted = scales_of(host, COUNTERPARTS.get(name, "Euler"), settings, technique=True)
    assert len(named) == len(wanted) >= 6
    for (level, scale), (same_level, same_scale) in zip(named, wanted):
        assert level == pytest.approx(same_level, rel=1e-4) and scale == pytest.approx(same_scale, rel=1e-9)
    assert min(scale for _, scale in named) < 0.2


@pytest.mark.parametrize("settings", [{"schedule": "Interval"}, {"schedule": "Clamp-Linear (c=4.0)"}], ids=str)
def test_ddim_cfgpp_of_either_host_is_the_technique_on_ddim(settings: dict):
    """A1111 divides CFG by 12.5, Forge takes it for lambda; our sampler on Forge divides as A1111 does."""
    request = {"cfg_schedule": settings}
    for new, name, scale in ((new_host, "DDIM CFG++", 7.5), (new_forge, "DDIM CFG++", LAMBDA), (new_forge, DDIM_CFGPP, 7.5)):
        host = with_named_samplers(new())
        wanted = picture(host, "DDIM", {**request, "cfgpp": {"scale": LAMBDA}}, 5.0)
        got = picture(host, name, request, scale)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-3 * float(wanted.abs().max()))
