"""Flow matching on both hosts, with a flow model whose exact results are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.model_kind import kind_of
from lib_sdfm.ops.flow import LATEST_TIME
from lib_sdfm.ops.flow_schedules import flow_times
from sdfm_webui.errors import SdfmError
from sdfm_webui.kind_memory import Remembered
from tests.hosts.fake_a1111 import Host
from tests.hosts.flow_hosts import FLOW_HOSTS, error, flow_a1111, flow_forge, named, unet_of
from tests.hosts.jobs import another_checkpoint, job, samples
from tests.hosts.test_steps import WatchingScript
from tests.support import stable_diffusion_alphas

ON = {"flow": {"shift": 3}}
HOSTS = FLOW_HOSTS


@pytest.fixture(params=HOSTS)
def host(request, tmp_path: Path) -> Host:
    return HOSTS[request.param](tmp_path)


def start(host: Host, **settings):
    return job(host, None, **settings).noise(8, 8)


def target(host: Host):
    return host.sdfm.kinds.target(host.sd_model)


@pytest.mark.parametrize("sampler, most", [
    ("Euler", 0.15), ("Heun", 0.06), ("DPM2", 0.06), ("LMS", 0.06), ("DPM++ 2M", 0.08), ("DPM adaptive", 0.1),
    ("DPM fast", 0.1), ("DDIM", 0.15), ("PLMS", 0.1),
])  # fmt: skip
def test_deterministic_samplers_come_close_to_the_exact_result(host: Host, sampler: str, most: float):
    result = samples(host, ON, sampler_name=sampler, steps=20, cfg_scale=1.5)
    assert error(result, start(host)) < most


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2S a", "DPM++ SDE"])
def test_stochastic_samplers_land_on_the_modes(host: Host, sampler: str):
    from tests.hosts.flow_hosts import FLOW

    result = samples(host, ON, sampler_name=sampler, steps=30, cfg_scale=1.5, width=256, height=256)
    assert FLOW.distance(result.double()) < 0.12


@pytest.mark.parametrize("technique", [{}, {"cfgpp": {"scale": 1}}, {"pag": {"scale": 0.0}}])
def test_forges_heunpp2_is_of_second_order(tmp_path: Path, technique: dict):
    host = flow_forge(tmp_path)
    result = samples(host, {**ON, **technique}, sampler_name="HeunPP2", steps=12, cfg_scale=1.5)
    assert len(unet_of(host).times) == 23 and not host.swallowed
    assert error(result, start(host)) < 0.1


def test_euler_calls_the_unet_at_comfyui_s_times(host: Host):
    samples(host, ON, sampler_name="Euler", steps=12, cfg_scale=1.5)
    wanted = [1000 * min(t, LATEST_TIME) for t in flow_times("Normal", 12, 3.0)[:-1]]
    assert unet_of(host).times == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("shift", [1, 6])
@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DDIM"])
def test_techniques_are_told_the_time_that_the_unet_is_given(host: Host, sampler: str, shift: float):
    samples(host, {"flow": {"shift": shift}}, steps=2, cfg_scale=1.5)
    unet_of(host).times.clear()
    script = WatchingScript(host)
    host.run(host.processing(host, scripts=[script], sampler_name=sampler, steps=6, cfg_scale=1.5))
    assert [step.timestep for step in script.watcher.steps] == pytest.approx(
        unet_of(host).times, rel=1e-3
    ) and not host.swallowed


def test_the_schedule_of_the_job_counts(host: Host):
    samples(host, ON, sampler_name="Euler", steps=6, cfg_scale=1.5, scheduler="SGM Uniform")
    assert unet_of(host).times == pytest.approx(
        [1000 * min(t, LATEST_TIME) for t in flow_times("SGM Uniform", 6, 3.0)[:-1]], rel=1e-4
    )


def test_without_it_the_same_model_gives_noise(host: Host):
    assert error(samples(host, None, sampler_name="Euler", steps=20, cfg_scale=1.5), start(host)) > 0.5


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "Heun"])
def test_a_hires_pass_and_img2img_stay_on_the_modes(host: Host, sampler: str):
    from tests.hosts.flow_hosts import FLOW

    settings = {"sampler_name": sampler, "steps": 16, "cfg_scale": 1.5}
    base = samples(host, ON, **settings)
    again = samples(host, ON, **settings, init_latent=base, denoising_strength=0.5)
    hires = samples(host, ON, **settings, enable_hr=True, denoising_strength=0.6)
    for result in (again, hires):
        assert result.isfinite().all() and FLOW.distance(result.double()) < 0.35


def test_the_text_says_what_was_used(host: Host):
    p = job(host, {"flow": {"shift": 6}}, sampler_name="DPM++ 2M", steps=4, cfg_scale=1.5)
    host.run(p)
    assert p.extra_generation_params == {"Flow Matching": "On", "Flow Shift": 6, "Flow End": 0.109091, "SDFM": 1}
    p = job(host, ON, sampler_name="Euler", steps=4, cfg_scale=1.5)
    host.run(p)
    assert p.extra_generation_params == {"Flow Matching": "On", "Flow Shift": 3, "Flow End": 0, "SDFM": 1}


class TestMemory:
    def remember(self, host: Host, mode: str = "On", shift: float = 2.0, name: str = "first") -> None:
        host.sdfm.kinds.memory.put(name, Remembered(mode, shift))

    def test_nothing_remembered_nothing_done(self, host: Host):
        before = samples(host, None, steps=3, cfg_scale=1.5)
        p = job(host, {"flow": {"mode": "Auto"}}, steps=3, cfg_scale=1.5)
        assert torch.equal(host.run(p), before) and p.extra_generation_params == {}
        assert kind_of(target(host)) is None

    def test_a_remembered_checkpoint_needs_no_setting(self, host: Host):
        self.remember(host)
        p = job(host, None, sampler_name="Euler", steps=20, cfg_scale=1.5)
        assert error(host.run(p), start(host)) < 0.15 and not host.swallowed
        assert p.extra_generation_params == {"Flow Matching": "On", "Flow Shift": 2, "Flow End": 0, "SDFM": 1}

    def test_off_counts_and_is_written_where_it_is_remembered(self, host: Host):
        before = samples(host, None, steps=3, cfg_scale=1.5)
        self.remember(host)
        p = job(host, {"flow": {"mode": "Off"}}, steps=3, cfg_scale=1.5)
        assert torch.equal(host.run(p), before)
        assert p.extra_generation_params["Flow Matching"] == "Off"

    def test_the_edge_outlives_the_run_and_ends_with_the_mode(self, host: Host):
        samples(host, ON, steps=2, cfg_scale=1.5)
        assert kind_of(target(host)).shift == 3
        samples(host, {"flow": {"shift": 2}}, steps=2, cfg_scale=1.5)
        assert kind_of(target(host)).shift == 2
        samples(host, None, steps=2, cfg_scale=1.5)
        assert kind_of(target(host)) is None

    @pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', '{"first": 3}', '{"first": {"mode": "On", "shift": "x"}}', "\x00"])
    def test_a_damaged_file_is_no_memory_and_no_error(self, host: Host, text: str, tmp_path: Path):
        path = tmp_path / "flow_models.json"
        path.write_text(text, encoding="utf8")
        assert host.sdfm.kinds.remembered() is None
        self.remember(host, shift=4.0)
        assert host.sdfm.kinds.remembered().shift == 4.0
        assert json.loads(path.read_text(encoding="utf8"))["first"]["mode"] == "On"


class TestOtherGenerations:
    def test_those_without_us_get_the_right_denoiser(self, host: Host):
        samples(host, ON, steps=2, cfg_scale=1.5)
        inner = host.processing(host, sampler_name="Euler", steps=30, cfg_scale=1.5)
        assert error(host.run(inner), start(host)) < 0.25

    def test_a_refiner_that_is_loaded_when_scripts_hear_of_the_beginning_again_stays_as_it_is(self, host: Host):
        """ADetailer tells of it while the pictures are finished."""
        p, refiner = job(host, ON, steps=2, cfg_scale=1.5), another_checkpoint(host)
        host.sd_model.sd_model_hash = p.sd_model_hash = "first"
        refiner.sd_model_hash = "second"
        refiner.sd_checkpoint_info = named("second")
        host.run(p)
        assert kind_of(target(host)).shift == 3
        host.sd_model = refiner
        host.sdfm.process(p, ON)
        assert kind_of(target(host)) is None

    def test_another_checkpoint_s_weights_take_it_off(self, host: Host):
        samples(host, ON, steps=2, cfg_scale=1.5)
        host.sd_model.sd_checkpoint_info = named("second")
        host.sdfm.kinds.model_loaded(host.sd_model)
        assert kind_of(target(host)) is None

    def test_a_remembered_one_gets_its_own(self, host: Host):
        host.sdfm.kinds.memory.put("second", Remembered("On", 5.0))
        samples(host, ON, steps=2, cfg_scale=1.5)
        host.sd_model.sd_checkpoint_info = named("second")
        host.sdfm.kinds.model_loaded(host.sd_model)
        assert kind_of(target(host)).shift == 5.0


class TestRefusals:
    def refused(self, host: Host, match: str, request: dict = ON, **settings) -> None:
        with pytest.raises(SdfmError, match=match):
            host.run(job(host, request, steps=2, **settings))
        assert kind_of(target(host)) is None or kind_of(target(host)).shift == 3

    @pytest.mark.parametrize("shift", [0, -1, 0.05, 101, "3"])
    def test_a_shift_out_of_range(self, host: Host, shift):
        self.refused(host, "flow.shift", {"flow": {"shift": shift}})

    def test_a_schedule_of_another_kind(self, host: Host):
        self.refused(host, "schedule type Turbo", scheduler="Turbo")

    def test_a_timestep_sampler_between_kinds(self, host: Host):
        p = job(host, ON, sampler_name="DDIM", steps=2)
        p.refiner_checkpoint_info, p.refiner_switch_at = named("plain"), 0.5
        with pytest.raises(SdfmError, match="DDIM can't switch between"):
            host.run(p)

    def test_an_error_leaves_nothing(self, host: Host):
        before = samples(host, None, steps=3, cfg_scale=1.5)
        self.refused(host, "schedule type Turbo", scheduler="Turbo")
        assert torch.equal(samples(host, None, steps=3, cfg_scale=1.5), before)


class TestRefiner:
    """A flow model, then one that predicts noise: the same latents, where both know the noise level."""

    STEPS = 12

    def switched(self, host: Host, call: int) -> torch.Tensor:
        second = another_checkpoint(host)
        second.sd_checkpoint_info = named("second")
        host.refiner = (call, second)
        first = host.sd_model
        try:
            return host.run(job(host, ON, sampler_name="Euler", steps=self.STEPS, cfg_scale=1.5))
        finally:
            assert host.sd_model is second
            host.refiner, host.sd_model = None, first

    def test_it_takes_over_where_both_know_the_noise_level(self, host: Host):
        assert self.switched(host, 6).isfinite().all() and not host.swallowed

    def test_earlier_is_refused_by_name(self, host: Host):
        with pytest.raises(SdfmError, match="refiner is not a flow model"):
            self.switched(host, 1)
        assert samples(host, ON, steps=2, cfg_scale=1.5).isfinite().all()


class TestA1111sTables:
    @pytest.fixture
    def host(self, tmp_path: Path) -> Host:
        return flow_a1111(tmp_path)

    def test_they_come_back_to_the_last_bit(self, host: Host):
        model, own = host.sd_model, vars(host.sd_model).keys() - {"calls"}
        samples(host, ON, steps=2, cfg_scale=1.5)
        assert float(model.alphas_cumprod[-1]) < 1e-7 and model.alphas_cumprod.dtype == torch.float64
        samples(host, None, steps=2, cfg_scale=1.5)
        for table in (model.alphas_cumprod, model.alphas_cumprod_original):
            assert torch.equal(table, stable_diffusion_alphas()) and table.dtype == torch.float32
        assert vars(model).keys() - {"calls"} == own

    def test_weights_loaded_in_place_keep_their_own_table(self, host: Host):
        model, theirs = host.sd_model, stable_diffusion_alphas() ** 2
        samples(host, ON, steps=2, cfg_scale=1.5)
        model.alphas_cumprod = model.alphas_cumprod_original = theirs
        host.sdfm.kinds.model_loaded(model)
        assert torch.equal(model.alphas_cumprod, theirs) and torch.equal(model.alphas_cumprod_original, theirs)

    def test_a_table_left_behind_by_a_reload_goes(self, host: Host):
        model = host.sd_model
        samples(host, ON, steps=2, cfg_scale=1.5)
        model.alphas_cumprod_original = model.alphas_cumprod
        model.alphas_cumprod = model.alphas_cumprod_original.half()
        host.sdfm.kinds.model_loaded(model)
        assert torch.equal(model.alphas_cumprod, stable_diffusion_alphas())
        assert torch.equal(model.alphas_cumprod_original, stable_diffusion_alphas())

    def test_a_table_changed_by_an_option_is_told(self, host: Host):
        samples(host, ON, steps=2, cfg_scale=1.5)
        host.reset_tables = lambda: setattr(host.sd_model, "alphas_cumprod", host.sd_model.alphas_cumprod_original.half())
        with pytest.raises(UnsupportedError, match="Downcast"):
            host.run(host.processing(host, sampler_name="Euler", steps=2, cfg_scale=1.5))
        samples(host, ON, steps=2, cfg_scale=1.5)  # ours puts it right

    @pytest.mark.parametrize("attribute, value, match", [
        ("is_sd3", True, "SD3"), ("is_sdxl_inpaint", True, "inpainting"), ("cond_stage_key", "edit", "conditioning"),
        ("alphas_cumprod", torch.ones(10), "1000 entries"),
    ])  # fmt: skip
    def test_models_that_can_t_be_flow_models(self, host: Host, attribute: str, value, match: str):
        setattr(host.sd_model, attribute, value)
        if attribute == "alphas_cumprod":
            host.sd_model.alphas_cumprod_original = value
        with pytest.raises(SdfmError, match=f"{match}.*flow matching to Off, or the model kind to Automatic"):
            host.run(job(host, ON, steps=2))
        assert kind_of(host.sd_model) is None and "apply_model" not in vars(host.sd_model)
