"""The step that each model call belongs to, and windows of steps."""

from __future__ import annotations

from dataclasses import dataclass
from unittest.mock import patch

import pytest
import torch

from lib_sdfm.hosts.run import Run
from lib_sdfm.ops.flow_time import heun_weighted, in_time, two_calls
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.plan import Plan
from tests.hosts.fake_a1111 import Host, Processing, Sampler
from tests.hosts.fake_forge import ForgeHost
from tests.hosts.jobs import samples
from tests.hosts.reference import timestep_of


@dataclass(frozen=True)
class NoSettings:
    pass


class Watcher(Technique):
    """Takes part in nothing and notes every step that it is asked about."""

    name, label, title, summary, Settings = "watcher", "Watcher", "Watcher", "", NoSettings

    def __init__(self) -> None:
        super().__init__(NoSettings(), "sdfm")
        self.steps: list[ModelCall] = []

    def needs_level(self) -> bool:
        return True

    def active(self, call: ModelCall) -> bool:
        if not self.steps or self.steps[-1] is not call:
            self.steps.append(call)
        return False


class WatchingScript:
    """Samples each batch with a watcher."""

    def __init__(self, host: Host) -> None:
        self.host, self.watcher = host, Watcher()

    def before_process(self, p: Processing) -> None:
        run = Run(Plan("sdfm", (self.watcher,)), p, self.host.new_pass)
        own_sample = p.sample
        p.sample = lambda **kwargs: run.sample(own_sample, **kwargs)
        self.before_pass, self.host.on_cfg_denoiser = run.before_pass, [run.before_call]

    def process_batch(self, p: Processing) -> None:
        pass

    def process_before_every_sampling(self, p: Processing) -> None:
        self.before_pass()


def watched_steps(host: Host, **settings: object) -> list[ModelCall]:
    """The step of each denoiser call of a job; what the UNet predicts is of no account to it, and takes long."""
    script = WatchingScript(host)
    unet = host.diffusion_model
    with patch.object(unet, "forward", lambda x, *args, **conds: x * 0.1):
        host.run(host.processing(host, scripts=[script], **settings))
    assert not host.swallowed
    return script.watcher.steps


INDICES = {
    "Euler": (3, [0, 1, 2]),
    "Euler a": (3, [0, 1, 2]),
    "DPM++ 2M": (3, [0, 1, 2]),
    "LMS": (3, [0, 1, 2]),
    "Heun": (3, [0, 0, 1, 1, 2]),
    "DPM2": (3, [0, 0, 1, 1, 2]),
    "DPM++ 2S a": (3, [0, 0, 1, 1, 2]),
    "DPM++ SDE": (3, [0, 0, 1, 1, 2]),
    "DPM fast": (6, [0, 0, 0, 1, 1, 2]),
    "DDIM": (3, [0, 1, 2]),
    "DDIM CFG++": (3, [0, 1, 2]),
    "PLMS": (3, [0, 0, 1, 2]),
    "UniPC": (3, [0, 1, 2, 3]),
}


@pytest.mark.parametrize(("sampler_name", "steps", "indices"), [(name, *known) for name, known in INDICES.items()])
def test_each_call_knows_the_samplers_step(host: Host, sampler_name: str, steps: int, indices: list[int]):
    assert [step.index for step in watched_steps(host, sampler_name=sampler_name, steps=steps)] == indices


@pytest.mark.parametrize(("calls", "indices"), [(1, [0]), (2, [0, 0]), (3, [0, 0, 1]), (4, [0, 0, 0, 1]), (5, [0, 0, 0, 1, 1])])
def test_dpm_fast_divides_its_calls_into_steps_of_third_order(host: Host, calls: int, indices: list[int]):
    assert [step.index for step in watched_steps(host, sampler_name="DPM fast", steps=calls)] == indices


@pytest.mark.parametrize(
    ("steps", "indices"), [(1, [0]), (2, [0, 0, 1]), (3, [0, 0, 0, 1, 1, 2]), (4, [0, 0, 0, 1, 1, 1, 2, 2, 3])]
)
def test_forges_heunpp2_looks_up_to_two_steps_ahead(forge: ForgeHost, steps: int, indices: list[int]):
    assert [step.index for step in watched_steps(forge, sampler_name="HeunPP2", steps=steps)] == indices


@pytest.mark.parametrize(("steps", "indices"), [(1, [0]), (2, [0, 0, 1]), (4, [0, 0, 1, 1, 2, 2, 3])])
def test_a_function_in_heunpp2_s_place_makes_two_calls_a_step(forge: ForgeHost, steps: int, indices: list[int]):
    class Replacing(WatchingScript):
        def process_before_every_sampling(self, p: Processing) -> None:
            p.sampler.func = in_time(two_calls(p.sampler.func, heun_weighted))
            super().process_before_every_sampling(p)

    script = Replacing(forge)
    forge.run(forge.processing(forge, scripts=[script], sampler_name="HeunPP2", steps=steps))
    assert [step.index for step in script.watcher.steps] == indices and not forge.swallowed


def test_dpm_adaptive_makes_three_calls_per_attempt_and_has_no_total(host: Host):
    steps = watched_steps(host, sampler_name="DPM adaptive")
    assert [step.index for step in steps] == [call // 3 for call in range(len(steps))]
    assert {step.total for step in steps} == {None}


@pytest.mark.parametrize("sampler_name", ["Euler", "Heun", "DPM2", "LMS", "DDIM", "DDIM CFG++", "PLMS"])
def test_the_total_is_the_number_of_steps(host: Host, sampler_name: str):
    steps = watched_steps(host, sampler_name=sampler_name, steps=4)
    assert {step.total for step in steps} == {steps[-1].index + 1}


def test_a_step_counts_from_0_again_in_the_hires_pass_and_in_the_next_batch(host: Host):
    """Forge announces the hires pass twice."""
    steps = watched_steps(host, enable_hr=True, denoising_strength=0.7, steps=3, n_iter=2)
    passes = [(step.index, step.total, step.hires) for step in steps]
    assert passes == [(0, 3, False), (1, 3, False), (2, 3, False), (0, 2, True), (1, 2, True)] * 2


def test_img2img_counts_the_steps_that_it_makes(host: Host):
    steps = watched_steps(host, init_latent=torch.zeros(1, 4, 8, 8), denoising_strength=0.5, steps=4)
    assert [(step.index, step.total) for step in steps] == [(0, 2), (1, 2)]


def test_sigma_and_timestep_are_those_of_the_call(host: Host):
    sampler = Sampler(host, "Heun")
    first, second, *_ = sampler.get_sigmas(3).tolist()
    sigmas = [step.sigma for step in watched_steps(host, sampler_name="Heun")]
    assert sigmas[:3] == pytest.approx([first, second, second])

    steps = watched_steps(host, sampler_name="DDIM")
    assert [step.timestep for step in steps] == pytest.approx([999, 667, 334], abs=0.01)
    table = sampler.model_wrap.sigmas
    assert [step.sigma for step in steps] == pytest.approx([float(table[round(step.timestep)]) for step in steps])


def test_the_timestep_is_the_noise_levels(host: Host):
    steps = watched_steps(host, sampler_name="Euler", steps=5)
    assert [step.timestep for step in steps] == pytest.approx([timestep_of(step.sigma) for step in steps], abs=0.01)


def test_the_scale_multiplier_is_the_samplers(a1111: Host, forge: ForgeHost):
    """Forge's DDIM CFG++ has lost it."""
    assert {step.scale_multiplier for step in watched_steps(a1111, sampler_name="DDIM CFG++")} == {1 / 12.5}
    assert {step.scale_multiplier for step in watched_steps(a1111, sampler_name="DDIM")} == {1.0}
    assert {step.scale_multiplier for step in watched_steps(forge, sampler_name="DDIM CFG++")} == {1.0}


def guided_calls(host: Host, request_: dict, **settings: object) -> list[bool]:
    """Return for each denoiser call if the middle block ran for more rows than cond and uncond."""
    calls: list[list[int]] = []
    host.on_cfg_denoiser.append(lambda params: calls.append([]))
    with host.unet.middle_block[0].register_forward_pre_hook(lambda module, args: calls[-1].append(len(args[0]))):
        samples(host, request_, **settings)
    return [sum(rows) > 2 for rows in calls]


@pytest.mark.parametrize(
    ("window", "guided"),
    [
        ((0, 150), [True] * 5),
        ((0, 4), [True] * 5),
        ((1, 2), [False, True, True, False, False]),
        ((4, 2048), [False, False, False, False, True]),
        ((3, 3), [False, False, False, True, False]),
        ((3, 2), [False] * 5),
    ],
)
def test_a_window_includes_both_ends(host: Host, window: tuple[int, int], guided: list[bool]):
    request_ = {"pag": dict(zip(("start_step", "end_step"), window))}
    assert guided_calls(host, request_, steps=5) == guided


@pytest.mark.parametrize(
    ("window", "guided"),
    [
        ((0, 150), [True] * 5),
        ((0, 0), [True, True, False, False, False]),
        ((1, 2), [False, False, True, True, False]),
        ((0, 2048), [True] * 5),
    ],
)
def test_recipe_original_counts_as_the_host_does_0_0_1_2(host: Host, window: tuple[int, int], guided: list[bool]):
    request_ = {"recipe": "original", "pag": dict(zip(("start_step", "end_step"), window))}
    assert guided_calls(host, request_, steps=5) == guided


def test_both_calls_of_a_heun_step_are_guided_or_neither(host: Host):
    request_ = {"pag": {"start_step": 1, "end_step": 1}}
    assert guided_calls(host, request_, sampler_name="Heun", steps=4) == [False, False, True, True, False, False, False]


def test_the_hires_pass_can_have_its_own_window_and_scale(host: Host):
    settings = {"enable_hr": True, "denoising_strength": 1.0, "steps": 3}
    only_hires = {"pag": {"scale": 0, "hires_scale": 2, "hires_start_step": 1}}
    assert guided_calls(host, only_hires, **settings) == [False] * 4 + [True] * 2
    only_base = {"pag": {"hires_scale": 0}}
    assert guided_calls(host, only_base, **settings) == [True] * 3 + [False] * 3
