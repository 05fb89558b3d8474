"""Predictions of the Refiner's panel, compared with what happens on the stand-ins; asking for them disturbs no job."""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import k_diffusion.external as k_external
import k_diffusion.sampling as k
import pytest
import torch
from torch import Tensor

from lib_sdfm.hosts.named_samplers import NAMED_SAMPLERS, hosted
from lib_sdfm.prompts.report import Expected
from lib_sdfm.sampling.model_call import ModelCall
from sdfm_webui.expectation import HostSchedule
from sdfm_webui.noise_tables import NoiseTables
from sdfm_webui.refiner_line import RefinerLine
from sdfm_webui.samplers import SamplerModules
from tests.hosts.fake_a1111 import Host, Processing, Sampler
from tests.hosts.jobs import HOSTS
from tests.hosts.test_steps import watched_steps
from tests.pairs import in_pairs

STRENGTH = 0.7
VALUES = {"sampler": "Euler", "scheduler": "Automatic", "steps": 6, "strength": STRENGTH, "hires": False}


class KDiffusionSampler:
    """The host's class of this name, as far as its schedule goes."""

    def get_sigmas(self, p: Any, steps: int) -> Tensor:
        return Sampler.get_sigmas(self, steps)


class CompVisSampler:
    """The same of timestep samplers."""

    def get_timesteps(self, p: Any, steps: int) -> Tensor:
        return Sampler.get_timesteps(self, steps)


def setup_img2img_steps(p: Any, steps: int | None = None) -> tuple[int, int]:
    return p.steps, max(int(p.steps * p.denoising_strength), 1) - 1


class Line:
    """The Refiner's panel of a stand-in.

    :param opts: settings of the host
    """

    def __init__(self, host: Host, by_calls: bool = True, **opts: Any) -> None:
        samplers = SimpleNamespace(find_sampler_config=lambda name: config_of(host, name))
        kinds = SimpleNamespace(CompVisSampler=CompVisSampler, KDiffusionSampler=KDiffusionSampler)
        modules = SamplerModules(samplers, SimpleNamespace(setup_img2img_steps=setup_img2img_steps), kinds, kinds, k)
        usual = {"refiner_switch_by_sample_steps": by_calls, "hires_fix_refiner_pass": "second pass", "eta_ddim": 0.0}
        self.opts = SimpleNamespace(**usual, enable_quantization=False, **opts)
        external = SimpleNamespace(CompVisDenoiser=k_external.CompVisDenoiser, ForgeScheduleLinker=linker)
        self.host = host
        self.expect = HostSchedule(
            modules, self.opts, lambda: table_of(self.host), NoiseTables(external, None, self.opts), goes_by_calls=False
        )

    def __call__(self, from_picture: bool = False, **values: Any) -> Expected:
        values = {**VALUES, **values}
        if from_picture:
            del values["hires"]
        function, _ = self.host.sampler_functions.get(values["sampler"], (Line.__call__, {}))
        own = inspect.signature(function).parameters.get("eta")
        self.opts.eta_ancestral = 1.0 if own is None else own.default  # the stand-in hands over none
        return self.expect(values)


def config_of(host: Host, name: str) -> Any:
    """The host's entry of a sampler, ``None`` if it has none."""
    if name not in host.sampler_functions:
        return None
    options = host.sampler_functions[name][1]
    calls = 2 if options.get("second_order") else 1
    return SimpleNamespace(name=name, options=options, total_steps=lambda steps: steps * calls)


def table_of(host: Host) -> Any:
    """The loaded model, of which only the noise table may be read: any call of it would fail."""
    if hasattr(host.sd_model, "kmodel"):
        unet = SimpleNamespace(model=SimpleNamespace(predictor=host.sd_model.kmodel.predictor))
        return SimpleNamespace(forge_objects=SimpleNamespace(unet=unet))
    return SimpleNamespace(alphas_cumprod=host.sd_model.alphas_cumprod)


def linker(predictor: Any) -> Any:
    return SimpleNamespace(sigmas=predictor.sigmas)


def with_named_samplers(host: Host) -> Host:
    host.sampler_functions = {
        **host.sampler_functions, **{named.name: (hosted(named, k), named.options) for named in NAMED_SAMPLERS}
    }  # fmt: skip
    return host


FORESEEN = [
    "Euler", "Euler a", "Heun", "DPM2", "DPM++ 2M", "DPM++ 2S a", "DPM++ SDE", "LMS", "DPM fast", "DDIM", "DDIM CFG++", "PLMS",
    "UniPC", *(named.name for named in NAMED_SAMPLERS),
]  # fmt: skip
FROM_A_PICTURE = [name for name in FORESEEN if name not in ("DDIM", "DDIM CFG++", "PLMS", "UniPC", "DPM fast")]
"""The stand-in begins the others elsewhere than the hosts, from a picture."""


def assert_foretold(told: Expected, steps: list[ModelCall], rounding: float = 1e-4) -> None:
    """Steps and noise levels of the calls are those that were made."""
    assert not told.unknown
    assert [call.step for call in told.calls] == [step.index for step in steps]
    assert [call.sigma for call in told.calls] == pytest.approx([step.sigma for step in steps], rel=rounding)
    assert told.steps == (steps[-1].index + 1 if steps else 0)


@in_pairs(make=HOSTS, sampler=FORESEEN, steps=[1, 2, 3, 10, 20])
def test_the_calls_of_a_run(make: Callable[[], Host], sampler: str, steps: int):
    host = with_named_samplers(make())
    told = Line(host)(sampler=sampler, steps=steps)
    rounding = 0.02 if sampler == "UniPC" else 1e-4  # the stand-in rounds timesteps
    assert_foretold(told, watched_steps(host, sampler_name=sampler, steps=steps), rounding)
    total = config_of(host, sampler).total_steps(steps)
    assert [call.done for call in told.calls] == [number / total for number in range(len(told.calls))]


@in_pairs(make=HOSTS, sampler=FROM_A_PICTURE, steps=[3, 10, 20])
def test_the_calls_of_img2img_and_of_a_hires_pass(make: Callable[[], Host], sampler: str, steps: int):
    host = with_named_samplers(make())
    line = Line(host)
    made = {"sampler_name": sampler, "steps": steps, "denoising_strength": STRENGTH}
    told = line(from_picture=True, sampler=sampler, steps=steps)
    assert told.name == "run"
    assert_foretold(told, watched_steps(host, init_latent=torch.zeros(1, 4, 8, 8), **made))
    told = line(sampler=sampler, steps=steps, hires=True, hires_steps=0)
    assert told.name == "hires pass"
    assert_foretold(told, [step for step in watched_steps(host, enable_hr=True, **made) if step.hires])


@pytest.mark.parametrize("sampler", FORESEEN)
def test_a1111_goes_by_the_model_s_time(a1111: Host, sampler: str):
    """The nearest entry of the noise table, or the whole part of a timestep, of 1000."""
    told = Line(with_named_samplers(a1111), by_calls=False)(sampler=sampler, steps=10)
    table, levels = Sampler(a1111, sampler).model_wrap_cfg, []
    a1111.on_cfg_denoiser.append(lambda params: levels.append(params.sigma.max()))
    a1111.run(a1111.processing(a1111, sampler_name=sampler, steps=10))
    sigmas = getattr(table.inner_model, "sigmas", None)
    times = [int(level) if sigmas is None else int((sigmas - level).abs().argmin()) for level in levels]
    if sampler == "UniPC":  # the stand-in rounds
        times = [int(999 - 99.9 * number) for number in range(10)]
    assert [call.done for call in told.calls] == [(999 - time) / 1000 for time in times]


class TestWhatIsNotKnown:
    @pytest.mark.parametrize(
        ("values", "why"),
        [
            ({"sampler": "DPM adaptive"}, "DPM adaptive chooses its steps while it runs"),
            ({"sampler": "Brand new"}, "SDFM doesn't know the steps of Brand new"),
            ({"sampler": None}, "SDFM doesn't know the steps of None"),
            ({"sampler": "Restart"}, "SDFM doesn't know the steps of Restart"),  # this host has none
            ({"steps": None}, "the number of steps is missing"),
            ({"steps": 0}, "the number of steps is 0"),
            ({"strength": None, "hires": True}, "the denoising strength is missing"),
            ({"flow": True, "flow_mode": "On"}, "with a flow model the schedule is made when the run begins"),
            ({"model": True, "model_kind": "Flow matching"}, "with a flow model the schedule is made when the run begins"),
            (
                {"model": True, "model_kind": "v-prediction", "zero_terminal_snr": True},
                "with zero terminal SNR the noise table",
            ),
            ({"steps": 1001, "sampler": "DDIM"}, "the WebUI's schedule can't be computed in advance"),
        ],
        ids=str,
    )
    def test_is_said(self, host: Host, values: dict, why: str):
        told = Line(host)(**values)
        assert told.unknown.startswith(why) and not told.calls

    def test_no_checkpoint(self, host: Host):
        line = Line(host)
        line.host = SimpleNamespace(sd_model=SimpleNamespace(create_denoiser=None, alphas_cumprod=None))
        line.expect = dataclasses.replace(line.expect, model=lambda: None)
        assert line.expect(VALUES).unknown == "no checkpoint is loaded yet"

    def test_a_model_with_a_schedule_of_its_own(self, host: Host):
        line = Line(host)
        for model in (SimpleNamespace(create_denoiser=None, alphas_cumprod=1), SimpleNamespace()):
            line.expect = dataclasses.replace(line.expect, model=lambda model=model: model)
            assert line.expect(VALUES).unknown == "the checkpoint has a schedule of its own"

    def test_a_checkpoint_that_is_remembered_as_a_flow_model(self, host: Host):
        line = Line(host)
        line.expect = dataclasses.replace(line.expect, is_flow=lambda: True)
        assert "flow model" in line().unknown and not line(flow=True, flow_mode="Off").unknown
        assert "flow model" in line(flow=True, flow_mode="Auto").unknown
        assert not line(model=True, model_kind="v-prediction").unknown
        assert "flow model" in line(model=False, model_kind="v-prediction").unknown

    def test_our_own_mistakes_are_not_hidden(self, host: Host):
        line = Line(host)
        del line.opts.refiner_switch_by_sample_steps
        with pytest.raises(AttributeError):
            line()


def test_a_refiner_that_is_the_checkpoint_itself_is_told(a1111: Host):
    line = Line(a1111)
    line.expect = dataclasses.replace(line.expect, is_chosen=lambda name: name == "main")
    assert line(checkpoint="main").same_model and not line(checkpoint="other").same_model
    hires = {"hires": True, "checkpoint": "main", "hires_steps": 4}
    assert line(**hires, hires_checkpoint="Use same checkpoint").same_model
    assert not line(**hires, hires_checkpoint="other").same_model
    assert line(**{**hires, "checkpoint": "other"}, hires_checkpoint="other").same_model
    line.opts.hires_fix_refiner_pass = "first pass"
    assert line(**hires, hires_checkpoint="other").same_model


class JobNoise:
    """k-diffusion's ``torch`` from a job's beginning on, as both hosts leave it: noise comes from the job's generator."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def randn_like(self, x: Tensor) -> Tensor:
        return torch.randn(1, 4, 8, 8, generator=self._generator)


class NoisyProcessing(Processing):
    """A job whose samplers draw their noise as the hosts' do."""

    def noise_sampler(self, x: Tensor) -> Callable[..., Tensor]:
        return lambda *levels: k.torch.randn_like(x)


@pytest.mark.parametrize("shown", ["Heun", "DPM2", "Euler", "Euler a", "DPM fast", "DDIM", "UniPC"])
def test_a_line_that_is_refreshed_while_a_job_samples_leaves_the_picture_alone(
    a1111: Host, monkeypatch: pytest.MonkeyPatch, shown: str
):
    """A request's thread asks at every model call, for the sampler that the panel shows by then."""
    said: list[str] = []
    line = Line(a1111)
    panel = RefinerLine(line.expect)
    values = {
        **VALUES, "sampler": shown, "on": True, "numbers": True, "from_start": False, "refiner": True, "checkpoint": "other",
        "switch_at": 0.5, "prompt": "[a:b:refiner]", "negative": "",
    }  # fmt: skip

    def refresh(*call: Any) -> None:
        thread = threading.Thread(target=lambda: said.extend(panel.text(values) for _ in range(3)))
        thread.start()
        thread.join()

    def picture(before_call: Callable[..., None]) -> Tensor:
        monkeypatch.setattr(k, "torch", JobNoise(5))
        a1111.sd_model.before_call = before_call
        return a1111.run(NoisyProcessing(a1111, sampler_name="Euler a", steps=6))

    line()
    alone = picture(lambda number: None)
    assert torch.equal(picture(refresh), alone)
    assert len(said) == 18 and set(said) == {said[0]} and "switch at step" in said[0]


def test_a_schedule_made_from_a_loaded_model_is_not_foretold(a1111: Host):
    """reForge's samplers of ComfyUI."""
    line = Line(a1111)
    line.expect = dataclasses.replace(line.expect, own_schedules=lambda entry: entry.name == "Euler")
    assert "makes the schedule of Euler when the run begins" in line().unknown
    assert not line(sampler="Heun").unknown
