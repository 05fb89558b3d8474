"""Adaptive guidance: CFG until the predictions agree, per image; what is left out, what is written, what is refused."""

from __future__ import annotations

from typing import Any

import k_diffusion.sampling as k
import pytest
import torch
from torch import Tensor

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import ConflictError, SettingError
from lib_sdfm.hosts.named_samplers import NAMED_SAMPLERS, hosted
from lib_sdfm.hosts.run import Run
from lib_sdfm.ops.similarity import similarity_per_image
from lib_sdfm.planning.explain import cost_in_words, unet_passes
from lib_sdfm.planning.technique import Technique
from lib_sdfm.sampling.model_call import ModelCall
from lib_sdfm.sampling.plan import Plan, compose
from lib_sdfm.sampling.prediction import Prediction
from lib_sdfm.schema.infotext import read_infotext
from lib_sdfm.schema.request import apply_request
from lib_sdfm.techniques.adaptive_guidance import AdaptiveGuidance, AdaptiveGuidanceSettings
from sdfm_webui.errors import SdfmError
from tests.hosts.fake_a1111 import Host, prompt
from tests.hosts.jobs import another_checkpoint, job, new_forge, new_host, samples
from tests.hosts.test_steps import WatchingScript
from tests.hosts.variety import VARIETIES
from tests.support import noise_of

HOSTS = {"A1111": new_host, "Forge": new_forge}
NOISE = {"compare": "noise", "threshold": 0.99}
"""With this the stand-ins' model crosses in the middle of a run, single images at steps of their own."""
SAMPLERS = ("Euler", "Heun", "DPM++ 2M", "DDIM")


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]()


def adaptive(**settings: Any) -> dict:
    return {"adaptive_guidance": settings}


def run(host: Host, request: dict | None, **settings: Any) -> tuple[Tensor, dict, list[int]]:
    """The samples of a job, its generation parameters, and the rows of its model calls."""
    host.swallowed.clear()
    p = job(host, request, **{"steps": 8, **settings})
    before = len(host.sd_model.calls)
    result = host.run(p)
    assert not host.swallowed
    return result, p.extra_generation_params, host.sd_model.calls[before:]


def of_image(params: dict, place: int) -> dict:
    """The keys that the host writes for one image of the batch that it has just made."""
    own = {key: value[place] if isinstance(value, list) else value for key, value in params.items()}
    return {key: str(value) for key, value in own.items() if value is not None}


def assert_close(ours: Tensor, other: Tensor, share: float = 1e-4) -> None:
    torch.testing.assert_close(ours, other, rtol=0, atol=share * float(other.abs().max()))


class OneFrom(WatchingScript):
    """Guides with the job's CFG scale up to a step, and with scale 1 from there on."""

    def __init__(self, host: Host, first: int) -> None:
        super().__init__(host)

        class Scale(Technique):
            name, label, settings, recipe = "scale", "Scale", None, "sdfm"
            __init__ = object.__init__

            def active(self, call: ModelCall) -> bool:
                return True

            def needs_uncond(self, call: ModelCall) -> bool:
                return True

            def guidance_scale(self, scale: float, call: ModelCall) -> float:
                return 1.0 if call.index >= first else scale

        self.techniques = (Scale(),)

    def before_process(self, p: Any) -> None:
        run = Run(Plan("sdfm", self.techniques), p, self.host.new_pass)
        own_sample = p.sample
        p.sample = lambda **kwargs: run.sample(own_sample, **kwargs)
        self.before_pass, self.host.on_cfg_denoiser = run.before_pass, [run.before_call]


class TestRows:
    @pytest.mark.parametrize(("sampler", "batch"), [("Euler", 1), ("Euler", 3), ("Heun", 2), ("DPM++ 2M", 1), ("DDIM", 3)])
    def test_from_the_step_on_the_unconditional_rows_are_not_predicted(self, host: Host, sampler: str, batch: int):
        settings = {"sampler_name": sampler, "steps": 6, "batch_size": batch}
        made, _, calls = run(host, adaptive(step=3), **settings)
        host.sd_model.calls.clear()
        reference = host.run(host.processing(host, [OneFrom(host, 3)], **settings))
        with_cfg = 3 * (2 if sampler == "Heun" else 1)
        assert calls == [2 * batch] * with_cfg + [batch] * (len(host.sd_model.calls) - with_cfg)
        assert_close(made, reference)

    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_measured_likewise_and_the_call_that_crosses_still_has_cfg(self, host: Host, sampler: str):
        made, params, calls = run(host, adaptive(**NOISE), sampler_name=sampler)
        (step,) = params["SDFM AG Step"]
        assert 0 < step < 8
        again, _, same_calls = run(host, adaptive(step=step), sampler_name=sampler)
        assert torch.equal(made, again) and calls == same_calls and calls.count(1) > 0

    def test_below_the_threshold_nothing_is_left_out(self, host: Host):
        made, params, calls = run(host, adaptive(threshold=1.0, compare="noise"))
        plain, _, plain_calls = run(host, None)
        assert_close(made, plain)
        assert calls == plain_calls and params["SDFM AG Step"] == [8]

    @pytest.mark.parametrize("variety", ["SDXL", "SDXL autocast", "SD1 lowvram", "SDXL accelerator"])
    @pytest.mark.parametrize("new", HOSTS.values(), ids=HOSTS)
    def test_in_every_variety_of_host(self, new: Any, variety: str):
        _, _, calls = run(new(variety=VARIETIES[variety]), adaptive(step=1), steps=2, batch_size=2)
        assert sum(calls) == 6

    @pytest.mark.parametrize("new", HOSTS.values(), ids=HOSTS)
    def test_prompts_joined_by_and_get_cfg_at_scale_1(self, new: Any):
        """Their weights don't sum to 1, so that the unconditional prediction is part of it."""
        conds = [[(prompt(1), 1.0), (prompt(2), 0.5)]]
        host = new()
        made, _, calls = run(host, adaptive(step=2), conds=conds, steps=4)
        assert calls == [3] * 4
        reference = host.run(host.processing(host, [OneFrom(host, 2)], conds=conds, steps=4))
        assert_close(made, reference)


class TestImages:
    def test_a_batch_is_its_single_images(self, host: Host):
        """Each switches at a step of its own, and its text tells that step."""
        conds = [[(prompt(0) * share + prompt(i) * (1 - share), 1.0)] for i, share in enumerate((0.0, 0.4, 0.7), start=1)]
        settings = {"sampler_name": "DDIM", "steps": 12}
        batch, params, calls = run(host, adaptive(**NOISE), batch_size=3, conds=conds, **settings)
        singles = [run(host, adaptive(**NOISE), seed=i + 1, conds=[conds[i]], **settings) for i in range(3)]
        assert params["SDFM AG Step"] == [single[1]["SDFM AG Step"][0] for single in singles]
        assert len(set(params["SDFM AG Step"])) > 1 and min(params["SDFM AG Step"]) < 11
        assert_close(batch, torch.cat([single[0] for single in singles]), 1e-3)
        assert calls.count(3) == 12 - max(params["SDFM AG Step"]) > 0  # once all have switched

    def test_the_text_of_an_image_gives_it_back(self, host: Host):
        """The host writes them batch by batch, and an extension may have added pictures to one."""
        p = job(host, adaptive(**NOISE), sampler_name="DDIM", batch_size=2, n_iter=2, steps=12)
        texts, sample_batch = [], host.sample_batch

        def write(p: Any) -> Tensor:
            result = sample_batch(p)
            texts.extend(of_image(p.extra_generation_params, place) for place in range(p.batch_size))
            p.batch_size += 1
            assert "SDFM AG Step" not in of_image(p.extra_generation_params, 2)
            p.batch_size -= 1
            return result

        host.sample_batch = write
        batch = host.run(p)
        host.sample_batch = sample_batch
        assert list(p.extra_generation_params["SDFM AG Step"]) == [int(text["SDFM AG Step"]) for text in texts]
        for image, text in enumerate(texts):
            reading = read_infotext(SCHEMA, text)
            assert (reading.errors, reading.warnings) == ([], [])
            settings = SCHEMA.settings(reading.values).techniques["adaptive_guidance"]
            assert settings == AdaptiveGuidanceSettings(0.99, "noise", int(text["SDFM AG Step"]))
            again, _, _ = run(host, adaptive(**NOISE, step=settings.step), sampler_name="DDIM", seed=image + 1, steps=12)
            assert_close(again, batch[[image]], 1e-3)

    def test_mixed_in_one_call(self):
        rows = [noise_of(seed, 3, 4, 8, 8) for seed in (1, 2)]
        prediction = Prediction(*rows, torch.ones(3), torch.arange(3), 7.0, noisy=noise_of(3, 3, 4, 8, 8))
        near = Prediction(torch.cat([rows[1][:1], rows[0][1:]]), rows[1], torch.ones(3), torch.arange(3), 7.0)
        technique = AdaptiveGuidance(AdaptiveGuidanceSettings(), "sdfm")
        first = ModelCall(0, 8, None, None)
        technique.observe(near, first)
        second = ModelCall(1, 8, None, None, memory=first.memory)
        assert technique.images_without_cfg(first) == []
        assert technique.images_without_cfg(second) == [True, False, False]
        guided = compose((technique,), prediction, second, lambda: torch.full_like(rows[0], 9.0))
        assert torch.equal(guided[0], rows[0][0]) and (guided[1:] == 9).all()


class TestGenerationParameters:
    def test_keys_in_their_place(self, host: Host):
        _, params, _ = run(host, {**adaptive(**NOISE), "pag": {}}, enable_hr=True)
        assert list(of_image(params, 0)) == [
            "PAG Active", "PAG SANF", "PAG Scale", "PAG Start Step", "PAG End Step", "SDFM AG Active", "SDFM AG Compare",
            "SDFM AG Step", "SDFM AG Hires Step", "SDFM",
        ]  # fmt: skip

    def test_nothing_is_claimed_before_it_is_known(self, host: Host):
        """The host writes ``params.txt`` before it samples."""
        p = job(host, adaptive(**NOISE), steps=8)
        seen: list[dict] = []
        host.on_cfg_denoiser.insert(0, lambda params: seen.append(of_image(p.extra_generation_params, 0)))
        host.run(p)
        assert "SDFM AG Step" not in seen[0] and "SDFM AG Step" in of_image(p.extra_generation_params, 0)

    def test_a_given_step_is_written_as_it_is(self, host: Host):
        _, params, _ = run(host, adaptive(step=5))
        assert of_image(params, 0) == {"SDFM AG Active": "True", "SDFM AG Step": "5", "SDFM": "1"}

    def test_each_pass_has_its_own(self, host: Host):
        made, params, _ = run(host, adaptive(**NOISE), enable_hr=True, sampler_name="DDIM", steps=12)
        assert params["SDFM AG Step"] != params["SDFM AG Hires Step"]
        steps = {"step": params["SDFM AG Step"][0], "hires_step": params["SDFM AG Hires Step"][0]}
        again, _, _ = run(host, adaptive(**NOISE, **steps), enable_hr=True, sampler_name="DDIM", steps=12)
        assert torch.equal(made, again)

    def test_a_refiner_is_measured_anew_and_both_steps_give_the_picture_back(self, host: Host):
        refined = another_checkpoint(host)
        first = host.sd_model

        def picture(**settings: Any) -> tuple[Tensor, dict, list[int]]:
            host.sd_model, host.refiner = first, (6, refined)
            before = len(refined.calls)
            made, params, calls = run(host, adaptive(**settings), sampler_name="DDIM", steps=12)
            host.sd_model = first
            return made, params, [*calls, *refined.calls[before:]]

        made, params, calls = picture(**NOISE)
        steps = {"step": params["SDFM AG Step"][0], "refiner_step": params["SDFM AG Refiner Step"][0]}
        assert steps["step"] < 6 < steps["refiner_step"]
        again, _, same_calls = picture(**steps)
        assert torch.equal(made, again) and calls == same_calls

    def test_a_job_inside_of_another_keeps_the_outer_values(self, host: Host):
        """ADetailer's jobs share the outer job's parameters."""
        p = job(host, adaptive(**NOISE), steps=8)
        host.run(p)
        outer = of_image(p.extra_generation_params, 0)
        inner = job(host, adaptive(compare="noise", threshold=1.0), steps=4)
        inner.extra_generation_params, inner.c = p.extra_generation_params, p.c
        host.run(inner)
        assert of_image(p.extra_generation_params, 0)["SDFM AG Step"] == outer["SDFM AG Step"]


class TestMeasuring:
    def test_steps_that_the_host_makes_without_uncond_are_no_measurement(self, host: Host):
        """NGMS skips it in every other step, where the two predictions are one."""
        _, params, calls = run(host, adaptive(compare="noise", threshold=0.99999), s_min_uncond=100.0)
        assert params["SDFM AG Step"] == [8] and calls == [2, 1] * 4

    def test_at_cfg_1_there_is_nothing_to_find(self, host: Host):
        _, params, calls = run(host, adaptive(), cfg_scale=1.0)
        assert "SDFM AG Step" not in params and calls == [1] * 8

    def test_within_a_cfg_interval(self, host: Host):
        """It begins above the interval, whose steps have no CFG either."""
        _, params, calls = run(host, {**adaptive(**NOISE), "cfg_schedule": {"high": 5.0}})
        (step,) = params["SDFM AG Step"]
        assert calls[0] == 1 and 2 in calls and calls[step - 1] == 2 and set(calls[step:]) == {1}

    def test_pag_goes_on(self, host: Host):
        pag, _, calls = run(host, {**adaptive(step=4), "pag": {}})
        alone, _, _ = run(host, adaptive(step=4))
        assert not torch.allclose(pag, alone, atol=1e-2) and sum(calls) == 4 * 3 + 4 * 2

    @pytest.mark.parametrize("sampler", ["Euler", "Heun"])
    def test_one_read_from_the_device_per_step_at_most(self, sampler: str):
        counts = []
        for request in (None, adaptive(compare="noise", threshold=1.0), adaptive(step=2)):
            host = new_host(variety=VARIETIES["SD1 accelerator"])
            with torch.no_grad(), host.variety.running() as device:
                host._run(job(host, request, steps=4, sampler_name=sampler))
            counts.append(device.waits)
        assert counts[1] - counts[0] == 3 and counts[2] == counts[0]  # at the start of a step, of the one before

    def test_similarity(self):
        x = noise_of(1, 2, 4, 8, 8)
        torch.testing.assert_close(similarity_per_image(x, 3 * x), torch.ones(2))
        torch.testing.assert_close(similarity_per_image(x.half(), -x.half()), -torch.ones(2))
        assert similarity_per_image(x, torch.zeros_like(x)).tolist() == [0.0, 0.0]
        one = similarity_per_image(x, noise_of(2, 2, 4, 8, 8))
        cosines = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(x, noise_of(2, 2, 4, 8, 8))]
        torch.testing.assert_close(one, torch.stack(cosines), rtol=0, atol=0.02)  # of zero mean, nearly


class TestRefusals:
    @pytest.mark.parametrize("other", [{"dynamic_thresholding": {}}, {"cfgpp": {}}, {"pag": {"sanf": True}}], ids=str)
    def test_what_needs_uncond_is_named(self, other: dict):
        with pytest.raises(ConflictError, match="Adaptive guidance.*needs the unconditional prediction in every step"):
            SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), {**adaptive(), **other}))

    def test_it_is_what_they_say_of_themselves(self):
        """No list of names: each technique, at its defaults."""
        for feature in SCHEMA.techniques:
            if feature in (AdaptiveGuidance,) or "sdfm" not in feature.recipes or not issubclass(feature, Technique):
                continue
            needs = feature(feature.Settings(), "sdfm").needs_uncond_throughout()
            values = apply_request(SCHEMA, SCHEMA.defaults(), {**adaptive(), feature.name: True})
            if needs:
                with pytest.raises(ConflictError):
                    SCHEMA.settings(values)
            else:
                assert SCHEMA.settings(values)

    def test_recipe_original_has_none(self):
        with pytest.raises(SettingError, match="Adaptive guidance"):
            SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), {"recipe": "original", **adaptive()}))

    @pytest.mark.parametrize("sampler", ["Euler CFG++", "DDIM CFG++"])
    def test_a_sampler_that_renoises_with_uncond_is_named(self, host: Host, sampler: str):
        named = {one.name: (hosted(one, k), one.options) for one in NAMED_SAMPLERS}
        host.sampler_functions = {**host.sampler_functions, **named}
        with pytest.raises(SdfmError, match=rf"Adaptive guidance: {sampler[:5]}.*Choose another sampler"):
            samples(host, adaptive(), sampler_name=sampler, cfg_scale=0.6)
        assert torch.equal(samples(host, None), samples(HOSTS["Forge" if "Forge" in type(host).__name__ else "A1111"](), None))


def test_the_cost_is_a_range():
    settings = SCHEMA.settings(apply_request(SCHEMA, SCHEMA.defaults(), {**adaptive(), "pag": {}}))
    assert unet_passes(SCHEMA, settings) == {"base": 2, "pag": 1, "adaptive_guidance": 0, "least": 2, "total": 3}
    assert cost_in_words(SCHEMA, settings) == "up to +34% time"


def test_what_was_not_found_leaves_no_key(host: Host):
    """With a given step there is nothing to find in the first model, and there is no refiner."""
    for asked in ({"step": 2}, {"threshold": 1.0}, {"step": 2, "hires_step": 0}):
        p = job(host, {"adaptive_guidance": asked})
        host.run(p)
        assert not [key for key, value in p.extra_generation_params.items() if value == [None]], asked
        assert "SDFM AG Step" in p.extra_generation_params
