"""v models that the host takes for ordinary ones, with results that are known, on both hosts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from k_diffusion.external import CompVisVDenoiser
from torch import Tensor, nn

from lib_sdfm.hosts.model_kind import kind_of
from lib_sdfm.ops.flow import exploding_to_flow, sigma_to_time
from lib_sdfm.ops.flow_probe import noise_table
from lib_sdfm.ops.v_prediction import has_zero_terminal_snr, with_zero_terminal_snr
from sdfm_webui.errors import SdfmError
from sdfm_webui.kind_memory import Remembered
from tests.hosts.fake_a1111 import SAMPLERS, Host
from tests.hosts.flow_hosts import FLOW, named, with_kinds
from tests.hosts.jobs import HOSTS, another_checkpoint, job, new_forge, new_host, samples
from tests.pairs import in_pairs, in_turn
from tests.support import stable_diffusion_alphas

V, NOISE = "v-prediction", "Noise"
PLAIN, ZERO = ({"model": {"kind": V, "zero_terminal_snr": zero}} for zero in (False, True))
TABLES = {False: noise_table(), True: with_zero_terminal_snr(noise_table())}
SAMPLED = [name for name in SAMPLERS if name != "DDIM CFG++"]
JOB = {"steps": 20, "cfg_scale": 1.5}


class MixtureUnet(nn.Module):
    """A UNet of the model of the flow tests, which predicts v or noise; trained with one of the noise tables."""

    input_blocks = ()
    model_channels = 32

    def __init__(self, kind: str = V, zero: bool = False) -> None:
        super().__init__()
        self.middle_block, self.config = nn.Identity(), {"in_channels": 4}
        self.kind, self.zero, self.times = kind, zero, []

    def forward(self, x: Tensor, timesteps: Tensor, context: Any = None, **more: Any) -> Tensor:
        self.times.append(float(timesteps[0]))
        logs = ((1 - TABLES[self.zero]) / TABLES[self.zero]).log() / 2
        place = timesteps.double().clamp(0, 999)
        level = torch.lerp(logs[place.floor().long()], logs[place.ceil().long()], place.frac()).exp().view(-1, 1, 1, 1)
        scale, x64 = (1 + level**2) ** -0.5, x.double()
        t = sigma_to_time(level)
        denoised = FLOW.denoised(exploding_to_flow(x64 / scale, t), t[..., None])
        eps = (x64 - scale * denoised) / (level * scale)
        return (eps if self.kind == NOISE else scale * eps - level * scale * denoised).to(x.dtype)


def v_host(make: Any, folder: Path, zero: bool = False) -> Host:
    host = with_kinds(make(), folder)
    put(host, MixtureUnet(V, zero))
    return host


def put(host: Host, unet: nn.Module) -> None:
    """Give the loaded checkpoint another UNet."""
    host.diffusion_model = unet


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return v_host(HOSTS[request.param], tmp_path)


@pytest.fixture
def a1111(tmp_path: Path) -> Host:
    return v_host(new_host, tmp_path)


def target(host: Host) -> Any:
    return host.sdfm.kinds.target(host.sd_model)


def distance(result: Tensor) -> float:
    return FLOW.distance(result.double()) if result.isfinite().all() else float("inf")


@in_turn(
    sampler=2 * SAMPLED,
    zero=[False] * len(SAMPLED) + [True] * len(SAMPLED),
    make=HOSTS,
)
def test_every_sampler_lands_on_the_modes_and_not_without(make: Any, sampler: str, zero: bool, tmp_path: Path):
    host = v_host(make, tmp_path, zero)
    settings = {**JOB, "sampler_name": sampler, "width": 192, "height": 192}
    limit = 0.3 if zero or sampler in ("LCM", "UniPC", "DPM fast") else 0.2
    assert distance(samples(host, ZERO if zero else PLAIN, **settings)) < limit
    assert distance(samples(host, None, **settings)) > 0.45


@in_pairs(make=HOSTS, sampler=["Euler", "DPM++ 2M", "DDIM", "LMS"], request_={"plain": PLAIN, "zero": ZERO})
def test_hires_pass_and_img2img(make: Any, sampler: str, request_: dict, tmp_path: Path):
    host = v_host(make, tmp_path, request_ is ZERO)
    settings = {**JOB, "sampler_name": sampler, "width": 128, "height": 128}
    base = samples(host, request_, **settings)
    again = samples(host, request_, **settings, init_latent=base, denoising_strength=0.5)
    hires = samples(host, request_, **settings, enable_hr=True, denoising_strength=0.6)
    assert max(distance(base), distance(again), distance(hires)) < 0.35


@in_pairs(
    make=HOSTS,
    sampler=["Euler", "DPM++ 2M", "DDIM"],
    technique=[  # the mixture has no attention
        {"dynamic_thresholding": {"mimic_scale": 1.2}}, {"cfgpp": {"scale": 0.6}}, {"cfg_rescale": {"phi": 0.7}},
        {"cfg_schedule": {}},
    ],
)  # fmt: skip
def test_guidance_is_that_of_the_noise_model_of_the_same_predictions(make: Any, sampler: str, technique: dict, tmp_path: Path):
    host = v_host(make, tmp_path)
    settings = {**JOB, "sampler_name": sampler, "steps": 8, "cfg_scale": 4}
    as_v = samples(host, {**PLAIN, **technique}, **settings)
    put(host, MixtureUnet(NOISE))
    assert torch.allclose(samples(host, technique, **settings), as_v, atol=2e-3)


@pytest.mark.parametrize("quantizes", [False, True])
@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ 2M", "DDIM"])
@pytest.mark.parametrize("zero", [False, True])
def test_a1111_and_forge_agree(tmp_path: Path, sampler: str, zero: bool, quantizes: bool):
    """Forge and reForge sample a marked checkpoint by themselves."""
    results = []
    for make in HOSTS.values():
        host = v_host(make, tmp_path, zero)
        host.quantizes = quantizes
        by_itself = make is not new_host
        if by_itself:
            host.rescales_table = zero
            host.knows_v()
        results.append(samples(host, None if by_itself else ZERO if zero else PLAIN, **JOB, sampler_name=sampler))
    assert all(torch.allclose(results[0], other, atol=2e-3) for other in results[1:])


def test_the_text_says_how_it_was_sampled(host: Host):
    p = job(host, ZERO, **JOB)
    host.run(p)
    assert p.extra_generation_params == {"Model Kind": V, "Zero Terminal SNR": True, "SDFM": 1}
    p = job(host, {"model": {"kind": NOISE}}, **JOB)
    host.run(p)
    assert p.extra_generation_params == {}
    p = job(host, {"model": {"kind": "Flow matching"}}, **JOB)
    host.run(p)
    assert p.extra_generation_params == {"Flow Matching": "On", "Flow Shift": 3, "Flow End": 0, "SDFM": 1}


class TestMemory:
    def remember(self, host: Host, zero: bool = False, name: str = "first") -> None:
        host.sdfm.kinds.memory.put(name, Remembered(V, zero_terminal_snr=zero))

    @pytest.mark.parametrize("zero", [False, True])
    def test_a_remembered_checkpoint_needs_no_setting(self, host: Host, zero: bool):
        put(host, MixtureUnet(V, zero))
        wanted = samples(host, ZERO if zero else PLAIN, **JOB)
        self.remember(host, zero)
        p = job(host, None, **JOB)
        assert torch.equal(host.run(p), wanted) and not host.swallowed
        assert p.extra_generation_params == {"Model Kind": V, **({"Zero Terminal SNR": True} if zero else {}), "SDFM": 1}
        assert torch.equal(samples(host, {"model": {}}, **JOB), wanted)

    def test_noise_counts_and_is_written_where_it_is_remembered(self, host: Host):
        before = samples(host, None, **JOB)
        self.remember(host)
        p = job(host, {"model": {"kind": NOISE}}, **JOB)
        assert torch.equal(host.run(p), before)
        assert p.extra_generation_params == {"Model Kind": NOISE, "SDFM": 1}

    def test_flow_matching_chosen_counts_more(self, host: Host):
        wanted = samples(host, {"flow": {}}, **JOB)
        self.remember(host)
        p = job(host, {"flow": {}}, **JOB)
        assert torch.equal(host.run(p), wanted) and "Model Kind" not in p.extra_generation_params
        assert any("is remembered as a v-prediction model" in comment for comment in p.comments)

    def test_v_counts_more_than_a_remembered_flow_model(self, host: Host):
        wanted = samples(host, PLAIN, **JOB)
        host.sdfm.kinds.memory.put("first", Remembered("On", 3.0))
        p = job(host, PLAIN, **JOB)
        assert torch.equal(host.run(p), wanted) and p.extra_generation_params == {"Model Kind": V, "SDFM": 1}
        assert any("is remembered as a flow model" in comment for comment in p.comments)

    def test_other_extensions_generations_get_it(self, host: Host):
        put(host, MixtureUnet(V, True))
        wanted = samples(host, ZERO, **JOB)
        assert torch.equal(host.run(host.processing(host, **JOB)), wanted)
        samples(host, None, **JOB)
        assert kind_of(target(host)) is None

    def test_a_checkpoint_loaded_later_gets_its_own(self, host: Host):
        self.remember(host, name="second")
        samples(host, {"flow": {}}, **JOB)
        host.sd_model.sd_checkpoint_info = named("second")
        host.sdfm.kinds.model_loaded(host.sd_model)
        assert kind_of(target(host)).name == V


class TestHostThatKnows:
    """A checkpoint that the host samples as a v model by itself."""

    @pytest.fixture
    def host(self, host: Host) -> Host:
        host.knows_v()
        return host

    def test_automatic_leaves_it_to_the_host(self, host: Host):
        p = job(host, {"model": {}}, **JOB)
        assert distance(host.run(p)) < 0.3 and p.extra_generation_params == {} and kind_of(target(host)) is None

    @pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DDIM"])
    def test_a_chosen_kind_converts_once(self, host: Host, sampler: str):
        settings = {**JOB, "sampler_name": sampler}
        assert torch.equal(samples(host, PLAIN, **settings), samples(host, None, **settings))

    def test_zero_terminal_snr(self, host: Host):
        put(host, MixtureUnet(V, True))
        assert distance(samples(host, ZERO, **JOB)) < 0.3

    def test_noise_is_the_user_s_word(self, host: Host):
        put(host, MixtureUnet(NOISE))
        p = job(host, {"model": {"kind": NOISE}}, **JOB, width=128, height=128)
        assert distance(host.run(p)) < 0.3 and p.extra_generation_params == {"Model Kind": NOISE, "SDFM": 1}
        put(host, MixtureUnet(V))
        assert distance(samples(host, None, **JOB, width=128, height=128)) < 0.3


class TestHostThatRescales:
    """With the host's option for zero terminal SNR, or Forge with a marked checkpoint."""

    @pytest.fixture
    def host(self, host: Host) -> Host:
        put(host, MixtureUnet(V, True))
        return host

    @pytest.mark.parametrize("request_", [PLAIN, ZERO], ids=["without the switch", "with it"])
    @pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
    def test_it_counts_as_the_switch(self, host: Host, request_: dict, sampler: str):
        settings = {**JOB, "sampler_name": sampler}
        wanted = samples(host, ZERO, **settings)
        host.rescales_table = True
        p = job(host, request_, **settings)
        assert torch.allclose(host.run(p), wanted, atol=1e-3) and p.extra_generation_params["Zero Terminal SNR"] is True
        again = host.run(host.processing(host, **settings))  # another extension's
        assert torch.allclose(again, wanted, atol=1e-3)
        host.rescales_table = False
        assert torch.equal(samples(host, ZERO, **settings), wanted)

    def test_img2img_and_batches(self, a1111: Host):
        """On A1111, whose table of img2img is SDFM's by then; Forge's is made before it rescales."""
        host = a1111
        put(host, MixtureUnet(V, True))
        base = samples(host, ZERO, **JOB, n_iter=2)
        wanted = samples(host, ZERO, **JOB, init_latent=base[:1], n_iter=2)
        host.rescales_table = True
        for _ in range(2):
            assert torch.allclose(samples(host, ZERO, **JOB, init_latent=base[:1], n_iter=2), wanted, atol=1e-3)

    def test_nothing_is_left(self, host: Host):
        before = samples(host, None, **JOB)
        host.rescales_table = True
        rescaled = samples(host, None, **JOB)
        samples(host, ZERO, **JOB)
        assert torch.equal(samples(host, None, **JOB), rescaled)
        host.rescales_table = False
        assert torch.equal(samples(host, None, **JOB), before)


class TestRefiner:
    """Models in any order of kinds, where both know the noise level."""

    def switched(self, host: Host, first: str, second: str, call: int, sampler: str = "Euler") -> Tensor:
        asked, refiner = self.unet(first), another_checkpoint(host)
        refiner.sd_checkpoint_info = named("second")
        remembered = {V: Remembered(V), "zero": Remembered(V, zero_terminal_snr=True)}.get(second)
        if remembered is not None:
            host.sdfm.kinds.memory.put("second", remembered)
        put(host, asked)
        loaded = host.sd_model
        host.sd_model = refiner
        put(host, self.unet(second))
        host.sdfm.kinds.model_loaded(refiner)
        host.sd_model, host.refiner = loaded, (call, refiner)
        p = job(host, {V: PLAIN, "zero": ZERO, NOISE: None}[first], **JOB, sampler_name=sampler, width=128, height=128)
        p.refiner_checkpoint_info, p.refiner_switch_at = named("second"), call / JOB["steps"]
        try:
            return host.run(p)
        finally:
            host.refiner, host.sd_model = None, loaded

    def unet(self, kind: str) -> MixtureUnet:
        return MixtureUnet(NOISE if kind == NOISE else V, kind == "zero")

    @pytest.mark.parametrize("first, second", [(a, b) for a in (NOISE, V, "zero") for b in (NOISE, V, "zero") if a != b])
    def test_k_diffusion_s_samplers(self, host: Host, first: str, second: str):
        assert distance(self.switched(host, first, second, 14)) < 0.3 and not host.swallowed

    @pytest.mark.parametrize("first, second", [(NOISE, V), (V, NOISE)])
    def test_timestep_samplers_with_the_same_table(self, host: Host, first: str, second: str):
        assert distance(self.switched(host, first, second, 10, "DDIM")) < 0.3

    @pytest.mark.parametrize("first, second", [(NOISE, "zero"), ("zero", V), (V, "zero")])
    def test_timestep_samplers_with_different_tables_are_refused(self, host: Host, first: str, second: str):
        with pytest.raises(SdfmError, match="Zero terminal SNR: DDIM can't switch between"):
            self.switched(host, first, second, 10, "DDIM")

    def test_too_early_is_refused(self, host: Host):
        with pytest.raises(SdfmError, match="Zero terminal SNR: the refiner has an ordinary noise table"):
            self.switched(host, "zero", NOISE, 1)


class TestBadInput:
    @pytest.mark.parametrize("request_, match", [
        ({"model": {"kind": "v"}}, r"model\.kind"),
        ({"model": {"kind": NOISE, "zero_terminal_snr": True}}, "zero_terminal_snr"),
        ({"model": {"zero_terminal_snr": True}}, "zero_terminal_snr"),
        ({"model": {"zero_terminal_snr": "yes"}}, "zero_terminal_snr"),
        ({**PLAIN, "flow": {}}, "contradict"), ({"model": {"kind": "Flow matching"}, "flow": {"mode": "Off"}}, "contradict"),
        ({"model": {"shift": 3}}, "model.shift"),
    ])  # fmt: skip
    def test_refused_and_nothing_poisoned(self, host: Host, request_: dict, match: str):
        before = samples(host, None, **JOB)
        with pytest.raises(SdfmError, match=match):
            host.run(job(host, request_, **JOB))
        assert kind_of(target(host)) is None and torch.equal(samples(host, None, **JOB), before)

    def test_both_names_of_the_same_kind_are_one(self, host: Host):
        wanted = samples(host, {"flow": {"shift": 5}}, **JOB)
        assert torch.equal(samples(host, {"model": {"kind": "Flow matching"}, "flow": {"shift": 5}}, **JOB), wanted)

    def test_a_flow_model_that_the_webui_knows(self, tmp_path: Path):
        forge, a1111 = v_host(new_forge, tmp_path), v_host(new_host, tmp_path)
        target(forge).predictor.prediction_type = "const"
        a1111.sd_model.is_sd3 = True
        for host in (forge, a1111):
            with pytest.raises(SdfmError, match="recognises by itself. Set the model kind to Automatic"):
                host.run(job(host, PLAIN, **JOB))
            assert kind_of(target(host)) is None

    @pytest.mark.parametrize("rescales", [False, True])
    @pytest.mark.parametrize("refused", [
        {"request": {"pag": {"layers": "nowhere"}}}, {"request": {"flow": {"mode": "?"}}},
        {"request": {"cfgpp": {}}, "sampler_name": "DPM adaptive"}, {"request": {"flow": {}}, "scheduler": "Turbo"},
    ])  # fmt: skip
    def test_an_error_inside_forge_s_rescaling_leaves_its_table(self, tmp_path: Path, rescales: bool, refused: dict):
        host = v_host(new_forge, tmp_path, True)
        host.rescales_table = rescales
        wanted, table = samples(host, ZERO, **JOB), target(host).predictor.sigmas
        with pytest.raises(SdfmError):
            host.run(job(host, **{**JOB, **refused}))
        assert torch.equal(samples(host, ZERO, **JOB), wanted) and torch.equal(target(host).predictor.sigmas, table)

    def test_a_flow_model_that_is_set_up_inside_forge_s_rescaling(self, tmp_path: Path):
        """Where a refiner was loaded as the job began."""
        host = v_host(new_forge, tmp_path, True)
        host.rescales_table, table = True, target(host).predictor.sigmas
        p = job(host, {"flow": {}}, **JOB)
        p.sd_model_hash, host.sd_model.sd_model_hash = "first", "second"
        host.run(p)
        assert kind_of(target(host)).is_flow
        samples(host, None, **JOB)
        assert torch.equal(target(host).predictor.sigmas, table)

    def test_a_switch_to_an_ordinary_model_in_the_middle(self, host: Host):
        put(host, MixtureUnet(V, True))
        before = samples(host, None, **JOB)

        def switch(params: object) -> None:
            host.sd_model.sd_checkpoint_info = named("second")
            host.sdfm.kinds.model_loaded(host.sd_model)

        host.on_cfg_denoiser.insert(0, switch)
        with pytest.raises(SdfmError, match="ordinary noise table"):
            samples(host, ZERO, **JOB)
        host.on_cfg_denoiser.remove(switch)
        assert torch.equal(samples(host, None, **JOB), before)


class TestA1111sTables:
    @pytest.mark.parametrize("request_", [PLAIN, ZERO], ids=["plain", "zero"])
    @pytest.mark.parametrize("rescales", [False, True])
    def test_they_come_back_to_the_last_bit(self, a1111: Host, request_: dict, rescales: bool):
        model, own = a1111.sd_model, vars(a1111.sd_model).keys() - {"calls"}
        a1111.rescales_table = rescales
        samples(a1111, request_, **JOB)
        assert has_zero_terminal_snr(model.alphas_cumprod) == (rescales or request_ is ZERO)
        a1111.rescales_table = False
        samples(a1111, None, **JOB)
        for table in (model.alphas_cumprod, model.alphas_cumprod_original):
            assert torch.equal(table, stable_diffusion_alphas()) and table.dtype == torch.float32
        assert vars(model).keys() - {"calls"} == own

    @pytest.mark.parametrize("rescales", [False, True])
    def test_a_table_left_behind_by_a_reload_goes(self, a1111: Host, rescales: bool):
        model, a1111.rescales_table = a1111.sd_model, rescales
        samples(a1111, ZERO, **JOB)
        model.alphas_cumprod_original = model.alphas_cumprod
        a1111.sdfm.kinds.model_loaded(model)
        assert torch.equal(model.alphas_cumprod, stable_diffusion_alphas())
        assert torch.equal(model.alphas_cumprod_original, stable_diffusion_alphas())

    def test_half_precision_is_refused_for_zero_terminal_snr_and_kept_without(self, a1111: Host):
        model = a1111.sd_model
        samples(a1111, ZERO, **JOB)
        a1111.reset_tables = lambda: setattr(model, "alphas_cumprod", model.alphas_cumprod_original.half())
        with pytest.raises(SdfmError, match="Downcast"):
            a1111.run(job(a1111, ZERO, **JOB))
        samples(a1111, PLAIN, **JOB)
        assert model.alphas_cumprod.dtype == torch.float16

    def test_k_diffusion_gets_the_host_s_own_denoiser(self, a1111: Host):
        seen = []
        a1111.on_cfg_denoiser.append(lambda params: seen.append(params.denoiser.inner_model))
        samples(a1111, PLAIN, **JOB)
        assert {type(model) for model in seen} == {CompVisVDenoiser}


def test_a_sampler_that_takes_the_hosts_own_v_model_for_another_is_named(a1111: Host):
    """A1111's LCM doesn't know what a ``.yaml`` file says; nothing is converted where the host does it for the others."""
    a1111.sdfm.kinds = dataclasses.replace(a1111.sdfm.kinds, blind_samplers=("LCM",))

    def comments(asked: dict, **settings: Any) -> list[str]:
        p = job(a1111, asked, **{**JOB, **settings})
        a1111.run(p)
        return p.comments

    thresholding = {"dynamic_thresholding": {"mimic_scale": 1.2}}
    assert comments(thresholding, sampler_name="LCM") == []
    a1111.knows_v()
    (line,) = comments(thresholding, sampler_name="LCM")
    assert "LCM of this WebUI takes" in line and "although its .yaml file says v-prediction" in line
    assert comments(thresholding, sampler_name="Euler") == comments({}, sampler_name="LCM") == []
