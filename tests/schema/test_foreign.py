"""Parameters of Forge, reForge and pamparamm's extension, read into recipe sdfm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lib_sdfm.catalog import SCHEMA, schema_for
from lib_sdfm.planning.explain import explain_infotext
from lib_sdfm.sampling.model_call import Interval, ModelCall
from lib_sdfm.schema.foreign import true_sampler
from lib_sdfm.schema.foreign.translate import SOURCES
from lib_sdfm.schema.foreign.windows import covered
from lib_sdfm.schema.infotext import Reading, parse_infotext, read_infotext, write_infotext
from lib_sdfm.techniques.pag import Pag, PagSettings
from tests.schema import foreign_texts as texts
from tests.schema.foreign_texts import text
from tests.schema.texts import printed


def read(keys: str, **more: Any) -> Reading:
    return read_infotext(SCHEMA, parse_infotext(text(keys, **more)))


def said(reading: Reading) -> dict[str, Any]:
    """Values that are not the default's."""
    return {id: value for id, value in reading.values.items() if value != SCHEMA.defaults()[id]}


STAGES = {
    "freeu.stage1_backbone": 1.3, "freeu.stage2_backbone": 1.4, "freeu.stage1_skip": 0.9, "freeu.stage2_skip": 0.2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        (texts.FORGE_FREEU, {"freeu.enabled": True, "freeu.preset": "Custom", **STAGES}),
        (
            texts.FORGE_FREEU.split(", freeu_start")[0],  # reForge's has no window
            {"freeu.enabled": True, "freeu.preset": "Custom", **STAGES},
        ),
        (texts.FORGE_PAG, {"pag.enabled": True, "pag.scale": 2.5}),
        (texts.OLD_FORGE_PAG, {"pag.enabled": True, "pag.scale": 4.0}),
        (
            texts.FORGE_THRESHOLDING,
            {
                "dynamic_thresholding.enabled": True, "dynamic_thresholding.mimic_scale": 5.0,
                "dynamic_thresholding.percentile": 95.0, "dynamic_thresholding.separate_channels": False,
                "dynamic_thresholding.startpoint": "ZERO", "dynamic_thresholding.measure": "STD",
                "dynamic_thresholding.phi": 0.3, "dynamic_thresholding.value": 1.0,
            },
        ),
        (texts.PAMPARAMM_PAG, {"pag.enabled": True, "pag.rescale": 0.2, "pag.adaptive": 0.1}),
        (texts.PAMPARAMM_SEG, {"seg.enabled": True, "seg.scale": 4.0, "seg.layers": "d2.2-9,m0"}),
        (
            texts.REFORGE_SIMPLE,
            {
                "dynamic_thresholding.enabled": True, "dynamic_thresholding.mimic_scale": 6.0,
                "dynamic_thresholding.percentile": 90.0, "dynamic_thresholding.separate_channels": False,
                "dynamic_thresholding.value": 1.0,
            },
        ),
        (texts.REFORGE_LIMITER, {"cfg_schedule.enabled": True, "cfg_schedule.low": 0.28, "cfg_schedule.high": 5.42}),
        (texts.REFORGE_RESCALE, {"cfg_rescale.enabled": True}),
        (
            "latent_modifier_enabled: True, latent_modifier_tonemap_multiplier: 0.0, latent_modifier_rescale_cfg_phi: 0.5",
            {"cfg_rescale.enabled": True, "cfg_rescale.phi": 0.5},
        ),
        ("latent_modifier_noise_enabled: True, latent_modifier_rescale_cfg_phi: 0.0", {}),
        (
            "guidance_limiter_enabled: True, guidance_sigma_start: -1, guidance_sigma_end: -1",
            {"cfg_schedule.enabled": True},
        ),
    ],
)  # fmt: skip
def test_values_are_converted(keys: str, values: dict[str, Any]):
    reading = read(keys)
    assert reading.errors + reading.warnings == []
    assert said(reading) == values


@pytest.mark.parametrize("keys", texts.ALL.values(), ids=texts.ALL)
def test_every_key_of_a_text_is_understood(keys: str):
    pairs = parse_infotext(text(keys))
    assert explain_infotext(SCHEMA, text(keys))["unknown"] == []
    assert {key for key in pairs if "_" in key} == read_infotext(SCHEMA, pairs).used


@pytest.mark.parametrize("keys", texts.ALL.values(), ids=texts.ALL)
def test_what_is_read_is_written_as_ours_and_means_the_same(keys: str):
    values = read(keys).values
    ours = write_infotext(SCHEMA, SCHEMA.settings(values))
    reading = read_infotext(SCHEMA, parse_infotext(printed(ours)))
    assert reading.errors + reading.warnings == []
    assert write_infotext(SCHEMA, SCHEMA.settings(reading.values)) == ours
    assert {id for id in values if id.endswith("enabled") and values[id] is not reading.values[id]} == set()
    assert not any("_" in key for key in ours)


def test_the_published_picture_of_reforge():
    """Thresholding at mimic = CFG gives plain CFG in both; SAG is named."""
    reading = read_infotext(SCHEMA, parse_infotext(texts.REFORGE_PICTURE))
    assert reading.errors == [] and reading.values["recipe"] == "sdfm"
    assert reading.values["dynamic_thresholding.mimic_scale"] == 4 and reading.values["dynamic_thresholding.phi"] == 0.3
    assert reading.values["flow.enabled"] and (reading.values["flow.mode"], reading.values["flow.shift"]) == ("On", 3)
    assert len(reading.warnings) == 1 and "sag_scale: 0.5" in reading.warnings[0]
    assert explain_infotext(SCHEMA, texts.REFORGE_PICTURE)["unknown"] == []


class TestPamparamm:
    BASE = texts.PAMPARAMM_PAG

    @pytest.mark.parametrize(
        ("blocks", "layers"),
        [
            ("pag_block: middle, pag_block_id: 0", "middle"),
            ("pag_block: input, pag_block_id: 8", "input.8"),
            ("pag_block: output, pag_block_id: 3", "output.3"),
            ('pag_block: input, pag_block_id: 8, pag_block_list: "d2.2-9,m0,u0.4"', "d2.2-9,m0,u0.4"),
        ],
    )
    def test_blocks(self, blocks: str, layers: str):
        reading = read(f"pag_enabled: True, {blocks}")
        assert reading.values["pag.layers"] == layers and reading.errors + reading.warnings == []

    def test_a_block_that_does_not_exist_does_nothing(self):
        reading = read("pag_enabled: True, pag_block: middle, pag_block_id: 1")
        assert not reading.values["pag.enabled"] and "pag_block: middle, pag_block_id: 1" in reading.warnings[0]

    @pytest.mark.parametrize(
        "blocks",
        ["pag_block: side", "pag_block: input, pag_block_id: -1", "pag_block: input, pag_block_id: 0.5", "pag_block_list: z9"],
    )
    def test_blocks_that_mean_nothing_are_errors(self, blocks: str):
        (error,) = read(f"pag_enabled: True, {blocks}").errors
        assert error.startswith(blocks.split(", ")[-1].split(":")[0])

    @pytest.mark.parametrize(("sigma", "blur"), [("-1", 11.0), ("1", 0.0), ("2", 1.0), ("1024", 10.0), ("8.0", 3.0)])
    def test_the_blur_is_in_tokens(self, sigma: str, blur: float):
        reading = read(f"seg_enabled: True, seg_blur_sigma: {sigma}")
        assert reading.values["seg.blur"] == blur and reading.warnings == []

    @pytest.mark.parametrize(("sigma", "blur"), [("0", 0.0), ("0.5", 0.0), ("9999", 13.3)])
    def test_blurs_that_are_not_ours_are_named(self, sigma: str, blur: float):
        reading = read(f"seg_enabled: True, seg_blur_sigma: {sigma}")
        assert reading.values["seg.blur"] == pytest.approx(blur, abs=0.02)
        assert f"seg_blur_sigma: {sigma}" in reading.warnings[0]

    def test_hires_values(self):
        keys = "pag_hr_override: True, pag_hr_cfg: 7, pag_hr_scale: 1.5, pag_hr_rescale: 0.3, pag_hr_rescale_mode: full, "
        reading = read(f"{self.BASE}, {keys} pag_hr_adaptive_scale: 0")
        assert reading.errors + reading.warnings == []
        values = [reading.values[f"pag.{name}"] for name in ("hires", "hires_scale", "hires_rescale", "hires_adaptive")]
        assert values == [True, 1.5, 0.3, 0.0]
        assert (
            read("seg_enabled: True, seg_hr_override: True, seg_hr_cfg: 7, seg_hr_blur_sigma: 4").values["seg.hires_blur"] == 2
        )

    def test_an_override_that_is_off_is_off(self):
        """The original pastes it as on."""
        reading = read(f"{self.BASE}, pag_hr_override: False")
        assert not reading.values["pag.hires"] and reading.values["pag.hires_scale"] is None

    @pytest.mark.parametrize(
        ("keys", "scale"),
        [
            ("pag_hr_override: True, pag_hr_cfg: 5", 5.0),
            ("pag_hr_override: True, pag_hr_cfg: 7", None),  # the first pass'
            ("pag_hr_override: False, pag_hr_cfg: 5", None),
            ("pag_hr_override: True, pag_hr_cfg: 5, Hires CFG Scale: 6", 6.0),  # the WebUI's own field counted there
            ("pag_hr_override: True, pag_hr_cfg: 5, seg_enabled: True, seg_hr_override: True, seg_hr_cfg: 3", 3.0),
            ("pag_hr_override: True, pag_hr_cfg: 5, seg_enabled: True, seg_hr_override: True, seg_hr_cfg: 7", None),
            ("pag_hr_override: True, pag_hr_cfg: 5, seg_enabled: False, seg_hr_override: True, seg_hr_cfg: 3", 5.0),
        ],
    )
    def test_cfg_of_the_hires_pass(self, keys: str, scale: float | None):
        reading = read(f"{self.BASE}, Hires upscale: 2, {keys}")
        assert reading.errors + reading.warnings == []
        assert (reading.values["hires_cfg.enabled"], reading.values["hires_cfg.scale"]) == (scale is not None, scale or 0.0)

    def test_cfg_of_the_hires_pass_is_left_to_a_host_with_a_field_for_it(self):
        keys = f"{self.BASE}, Hires upscale: 2, pag_hr_override: True, pag_hr_cfg"
        own = schema_for({"hr_cfg"}.__contains__)
        reading = read_infotext(own, parse_infotext(text(f"{keys}: 5")))
        assert reading.values["pag.enabled"] and reading.warnings == [
            "pag_hr_cfg: 5: the CFG scale of the hires pass is this WebUI's own field (hr_cfg): set that instead"
        ]
        assert "pag_hr_cfg: '0' is not valid" in read(f"{keys}: 0").errors[0]

    @pytest.mark.parametrize("name", ["pag", "seg"])
    def test_windows_of_noise_levels(self, name: str):
        def window(keys: str) -> list[float]:
            reading = read(f"{name}_enabled: True, {keys}")
            assert reading.errors + reading.warnings == []
            return [reading.values[f"{name}.{end}"] for end in ("sigma_from", "sigma_to")]

        assert window(f"{name}_sigma_start: 15, {name}_sigma_end: 5.42") == [15.0, 5.42]
        assert window(f"{name}_sigma_start: -1, {name}_sigma_end: 1") == [100.0, 1.0]
        assert window(f"{name}_sigma_start: 5, {name}_sigma_end: -1") == [5.0, 0.0]
        assert window(f"{name}_sigma_start: 900, {name}_sigma_end: 0") == [100.0, 0.0]

    @given(st.floats(0.001, 1.0), st.floats(-1.0, 1.0), st.floats(0.001, 0.98))
    def test_times_of_flow_models_hold_the_same_steps(self, start: float, end: float, t: float):
        """pamparamm's test at a time of a flow model that reForge samples, against ours at its noise level."""
        flow = "advanced_sampling_enabled: True, advanced_sampling_mode: SD3, sd3_shift: 3"
        values = read(f"{flow}, pag_enabled: True, pag_sigma_start: {start!r}, pag_sigma_end: {end!r}").values
        pag = Pag(PagSettings(sigma_from=values["pag.sigma_from"], sigma_to=values["pag.sigma_to"]), "sdfm")
        assume(min(abs(t - start), abs(t - end)) > 1e-6)
        assert pag.active(ModelCall(0, 10, sigma=t / (1 - t), timestep=1000 * t)) is (end < t <= start)

    def test_times_of_flow_models_are_told_from_noise_levels(self):
        window = "pag_enabled: True, pag_sigma_start: 0.8, pag_sigma_end: 0.5"
        neo = read(f"{window}, Model: some-rectified-xl", version="neo-2.29").values
        limiter = "guidance_limiter_enabled: True, guidance_sigma_start: 1, guidance_sigma_end: 0.5"
        reforge = "advanced_sampling_enabled: True, advanced_sampling_mode: SD3"
        assert (neo["pag.sigma_from"], neo["pag.sigma_to"]) == (pytest.approx(4), pytest.approx(1))
        assert read(f"{window}, Flow Matching: On, SDFM: 1").values["pag.sigma_from"] == 0.8  # VE samplers
        values = read(f"{reforge}, {limiter}").values
        assert (values["cfg_schedule.low"], values["cfg_schedule.high"]) == (1.0, 100.0)

    NAG = "nag_enabled: True, nag_scale: 4, nag_tau: 2.5, nag_alpha: 0.8, nag_sigma_start: -1, nag_sigma_end: 3.5"

    @pytest.mark.parametrize(
        ("keys", "scales"),
        [
            ("nag_hr_mode: Both", (4.0, None)),
            ("nag_hr_mode: HRFix Off, nag_hr_override: True, nag_hr_scale: 2", (4.0, 0.0)),
            ("nag_hr_mode: HRFix Only", (0.0, 4.0)),
            ("nag_hr_mode: HRFix Only, nag_hr_override: True, nag_hr_scale: 2", (0.0, 2.0)),
            ("nag_hr_mode: Both, nag_hr_override: True, nag_hr_scale: 2", (4.0, 2.0)),
        ],
    )
    def test_nag_in_either_pass(self, keys: str, scales: tuple[float, float | None]):
        reading = read(f'{self.NAG}, nag_negative: "a, b", {keys}')
        assert reading.errors + reading.warnings == []
        values = {name: reading.values[f"nag.{name}"] for name in ("tau", "alpha", "negative", "sigma_from", "sigma_to")}
        assert values == {"tau": 2.5, "alpha": 0.8, "negative": "a, b", "sigma_from": 100.0, "sigma_to": 3.5}
        assert (reading.values["nag.scale"], reading.values["nag.hires_scale"]) == scales

    def test_what_nag_lacks_is_named(self):
        assert "nag_block_list: middle" in read(f"{self.NAG}, nag_block_list: middle").warnings[0]
        assert "nag_hr_mode" in read(f"{self.NAG}, nag_hr_mode: Never").errors[0]

    def test_fusion_is_fusion_over_pixels_without_rescale(self):
        values = read("pag_enabled: True, pag_rescale: 0.5, pag_rescale_mode: snf").values
        assert (values["pag.sanf"], values["pag.rescale"], values["recipe"]) == (True, 0.0, "sdfm")

    @pytest.mark.parametrize(
        ("keys", "part"),
        [
            ("pag_enabled: True, pag_rescale_mode: partial, pag_rescale: 0.5", "pag_rescale: 0.5"),
            ("seg_enabled: True, seg_rescale: 0.5", "seg_rescale: 0.5"),
            ("seg_enabled: True, seg_rescale_mode: snf", "seg_rescale_mode: snf"),
            ("pag_enabled: True, pag_hr_override: True, pag_hr_cfg: 7, pag_hr_rescale_mode: snf", "pag_hr_rescale_mode: snf"),
            ("swg_enabled: True, swg_scale: 5", "swg_scale: 5"),
        ],
    )
    def test_what_it_has_and_we_do_not_is_named(self, keys: str, part: str):
        reading = read(keys)
        assert len(reading.warnings) == 1 and part in reading.warnings[0] and reading.errors == []

    def test_windows_that_hold_every_noise_level_are_none(self):
        assert read("pag_enabled: True, pag_sigma_start: -1, pag_sigma_end: 0").warnings == []
        assert read("pag_enabled: True, pag_rescale_mode: partial, pag_rescale: 0").warnings == []


class TestForge:
    @given(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2), st.integers(1, 60))
    def test_the_same_calls_are_covered(self, start: float, end: float, steps: int):
        """Forge's test at each call of a sampler with one call per step, against our window."""
        keys = f"pagi_enabled: True, pagi_scale: 3.0, pagi_start_step: {start!r}, pagi_end_step: {end!r}"
        values = read(keys, steps=steps).values
        window = Interval(values["pag.start_step"], values["pag.end_step"])
        for call in range(steps):
            lagging = max(call - 1, 0)
            theirs = steps == 1 or start <= lagging / (steps - 1) <= end
            ours = values["pag.enabled"] and window.contains(ModelCall(call, steps, sigma=1.0, timestep=1.0))
            assert ours is theirs

    def test_the_hires_pass_has_its_own_steps(self):
        keys = "Hires upscale: 2, Hires steps: 10, pagi_enabled: True, pagi_start_step: 0.5, pagi_end_step: 0.8"
        values = read(keys, steps=21).values
        assert (values["pag.start_step"], values["pag.end_step"]) == (11, 17)
        assert (values["pag.hires_start_step"], values["pag.hires_end_step"], values["pag.hires"]) == (6, 8, True)
        same = read(keys.replace("Hires steps: 10, ", ""), steps=21).values
        assert same["pag.hires_start_step"] is None and not same["pag.hires"]

    def test_image_to_image_counts_its_own_steps(self):
        values = read("Denoising strength: 0.5, pagi_enabled: True, pagi_start_step: 0, pagi_end_step: 0.5", steps=40).values
        assert values["pag.end_step"] == covered(0, 0.5, 21).last

    def test_freeu_in_steps(self):
        keys = texts.FORGE_FREEU.replace("start: 0.0", "start: 0.25").replace("end: 1.0", "end: 0.5")
        values = read(keys, steps=21).values
        schedule = [values[f"freeu.{name}"] for name in ("start", "start_in_steps", "stop", "stop_in_steps")]
        assert schedule == [6.0, True, 12.0, True]
        assert write_infotext(SCHEMA, SCHEMA.settings(values))["FreeU Schedule"] == "6, 12, 0.0"

    def test_freeu_in_steps_of_the_hires_pass(self):
        keys = texts.FORGE_FREEU.replace("start: 0.0", "start: 0.5").replace("end: 1.0", "end: 0.8")
        values = read(f"Hires upscale: 2, Hires steps: 10, {keys}", steps=21).values
        assert [values[f"freeu.{name}"] for name in ("start", "stop", "hires_start", "hires_stop")] == [11, 18, 6, 9]
        assert values["freeu.hires"] and values["freeu.hires_stop_in_steps"]
        never = read(f"Hires upscale: 2, Hires steps: 3, {keys}".replace("0.5", "0.6"), steps=21).values
        assert never["freeu.hires_stage1_backbone"] == never["freeu.hires_stage2_skip"] == 1.0

    @pytest.mark.parametrize(
        ("keys", "part"),
        [
            ("pagi_enabled: True, pagi_attenuation: 5.0", "pagi_attenuation: 5.0"),
            ("pagi_enabled: True, pagi_start_step: 0.99", "pagi_start_step: 0.99"),
            (texts.FORGE_THRESHOLDING.replace("mimic_mode: Constant", "mimic_mode: Linear Down"), "Linear Down"),
            (texts.FORGE_SAG, "sag_scale: 0.5"),
            ("kohya_hrfix_enabled: True, kohya_hrfix_downscale_factor: 2", "kohya_hrfix_downscale_factor: 2"),
            ("stylealign_enabled: True, stylealign_strength: 1", "stylealign_strength: 1"),
            ("multidiffusion_enabled: True, multidiffusion_method: MultiDiffusion", "MultiDiffusion"),
            ("latent_modifier_enabled: True, latent_modifier_tonemap_multiplier: 3", "latent_modifier_tonemap_multiplier: 3"),
            ("apgisyourcfg_enabled: True, apgisyourcfg_momentum: 0.5", "APG"),
            ("HyperTile_enabled: True, HyperTile_tile_size: 256", "HyperTile_tile_size: 256"),
            ("rescale_cfg_enabled: True, rescale_cfg_version: Alternative", "rescale_cfg"),
        ],
    )
    def test_what_it_has_and_we_do_not_is_named(self, keys: str, part: str):
        reading = read(keys)
        assert len(reading.warnings) == 1 and part in reading.warnings[0] and reading.errors == []

    def test_rescale_came_before_pag(self):
        reading = read(f"{texts.REFORGE_RESCALE}, {texts.FORGE_PAG}")
        assert reading.values["cfg_rescale.enabled"] and "before PAG" in reading.warnings[0]

    def test_half_steps_of_second_order_are_named(self):
        keys = "pagi_enabled: True, pagi_start_step: 0.2, pagi_end_step: 0.8"
        assert "middle of a step" in read(keys, sampler="DPM++ SDE Karras").warnings[0]
        assert read(texts.FORGE_PAG, sampler="Heun").warnings == []

    def test_a_window_without_steps_is_named(self):
        reading = read_infotext(SCHEMA, {"pagi_enabled": "True", "pagi_end_step": "0.5"})
        assert "the number of steps is missing" in reading.warnings[0] and reading.values["pag.end_step"] == 150

    @pytest.mark.parametrize(
        "keys",
        [
            "pagi_enabled: maybe",
            "pagi_enabled: True, pagi_scale: strong",
            "pagi_enabled: True, pagi_scale: -1",
            "pagi_enabled: True, pagi_scale: nan",
            "freeu_enabled: True, freeu_s1: 3.5",
            "dynthres_enabled: True, dynthres_cfg_mode: Upwards",
            "dynthres_enabled: True, dynthres_separate_feature_channels: maybe",
            "dynthres_enabled: True, dynthres_threshold_percentile: 1.5",
            "pag_enabled: True, pag_rescale_mode: half",
            "latent_modifier_enabled: True, latent_modifier_rescale_cfg_phi: -2",
        ],
    )
    def test_nonsense_is_an_error_that_names_the_foreign_key(self, keys: str):
        reading = read(keys)
        assert len(reading.errors) == 1 and reading.errors[0].startswith(keys.split(", ")[-1].split(":")[0])


class TestReforge:
    def test_of_what_takes_the_place_of_cfg_the_last_one_counts(self):
        reading = read(f"{texts.REFORGE_LIMITER}, {texts.REFORGE_RESCALE}, {texts.REFORGE_SIMPLE}")
        assert reading.values["dynamic_thresholding.enabled"] and not reading.values["cfg_schedule.enabled"]
        assert len(reading.warnings) == 2 and all("no effect there" in warning for warning in reading.warnings)

    def test_a_mimic_scale_of_cfg_is_plain_cfg_there_whatever_else_it_says(self):
        plain = texts.REFORGE_PICTURE
        for change in (("mimic_mode: Constant", "mimic_mode: Cosine Up"), ("startpoint: MEAN", "startpoint: ZERO")):
            changed = plain.replace(*change).replace("percentile: 1,", "percentile: 0.9,")
            reading = read_infotext(SCHEMA, parse_infotext(changed))
            assert not reading.values["dynamic_thresholding.enabled"]
            assert any("dynthres_mimic_scale: 4" in warning for warning in reading.warnings)


class TestTogether:
    def test_what_sdfm_wrote_counts(self):
        reading = read(f"{texts.FORGE_PAG}, PAG Active: True, PAG Scale: 4, SDFM: 1")
        assert reading.values["pag.scale"] == 4
        assert "pagi_scale: 2.5" in reading.warnings[0] and "PAG Active" in reading.warnings[0]

    def test_other_kinds_go_with_what_sdfm_wrote(self):
        reading = read(f"{texts.FORGE_FREEU}, PAG Active: True, PAG Scale: 4, SDFM: 1")
        assert reading.warnings == [] and reading.values["freeu.enabled"] and reading.values["pag.scale"] == 4

    def test_beside_an_original_nothing_foreign_is_read(self):
        reading = read(f"{texts.FORGE_FREEU}, PAG Active: True, PAG Scale: 4")
        assert reading.values["recipe"] == "original" and not reading.values["freeu.enabled"]
        assert "as the old extensions" in reading.warnings[0]

    def test_two_of_a_kind_are_one(self):
        reading = read(f"{texts.FORGE_PAG}, {texts.PAMPARAMM_PAG}")
        assert reading.values["pag.rescale"] == 0.2 and "pagi_scale: 2.5" in reading.warnings[0]

    def test_what_the_host_pastes_itself_is_left_to_it(self):
        pairs = parse_infotext(text(f"{texts.FORGE_FREEU}, {texts.FORGE_THRESHOLDING}"))
        reading = read_infotext(SCHEMA, pairs, claimed={"freeu_b1", "freeu_b2", "Steps"})
        assert not reading.values["freeu.enabled"] and reading.values["dynamic_thresholding.enabled"]
        assert len(reading.warnings) == 1 and "is set in this WebUI's own controls; SDFM's stays off" in reading.warnings[0]

    def test_explain_leaves_to_the_host_what_the_host_pastes(self):
        report = explain_infotext(SCHEMA, text(f"{texts.FORGE_FREEU}, {texts.FORGE_PAG}"), {"freeu_b1"})
        assert list(report["techniques"]) == ["pag"] and "pagi_scale" in report["understood"]

    def test_settings_without_their_switch_are_named(self):
        reading = read("pagi_scale: 3.0, freeu_b1: 1.1")
        assert said(reading) == {} and len(reading.warnings) == 2

    def test_what_is_off_is_off(self):
        reading = read("pagi_enabled: False, pagi_scale: 3.0, sag_enabled: False")
        assert said(reading) == {} and reading.warnings == []


@pytest.mark.parametrize(
    ("name", "true"),
    [
        ("Euler a_dynthres1", "Euler a"),
        ("DPM++ 2M Karras_dynthres12", "DPM++ 2M Karras"),
        ("Euler_dynthres1_dynthres2", "Euler"),
        ("Euler a", "Euler a"),
        ("", ""),
    ],
)
def test_samplers_that_thresholding_renamed(name: str, true: str):
    assert true_sampler(name) == true


keys_of_sources = st.sampled_from(sorted({key for source in SOURCES for key in source.all_keys}))
host_keys = st.sampled_from(["Steps", "Sampler", "CFG scale", "Denoising strength", "Hires steps", "Hires upscale"])
words = st.sampled_from(["True", "False", "0", "1", "0.5", "-1", "20", "1e300", "nan", "middle", "snf", "d2.2-9", "Constant"])


@given(st.dictionaries(keys_of_sources | host_keys, words | st.text(max_size=5)))
def test_reading_never_raises_and_what_it_gives_runs(pairs: dict[str, Any]):
    reading = read_infotext(SCHEMA, pairs)
    assert set(reading.values) == set(SCHEMA.by_id)
    assert {key for key in pairs if "_" in key} <= reading.used
    if not reading.errors:
        SCHEMA.settings(reading.values)


class TestReforgeSFlow:
    @pytest.mark.parametrize("said, shift", [("sd3_shift: 6", 6), ("sd3_shift: 4.5", 4.5)])
    def test_sd3_is_flow_matching(self, said: str, shift: float):
        reading = read_infotext(
            SCHEMA, parse_infotext(texts.text(f"advanced_sampling_enabled: True, advanced_sampling_mode: SD3, {said}"))
        )
        assert (
            reading.values["flow.enabled"] and reading.values["flow.shift"] == shift and reading.errors + reading.warnings == []
        )

    @pytest.mark.parametrize("mode", ["Discrete", "Flux", "Aura Flow"])
    def test_other_kinds_of_models_are_named(self, mode: str):
        said = f"advanced_sampling_enabled: True, advanced_sampling_mode: {mode}"
        reading = read_infotext(SCHEMA, parse_infotext(texts.text(said)))
        assert not reading.values["flow.enabled"] and mode in reading.warnings[0]

    @pytest.mark.parametrize("said, kind, zero, warned", [
        ("discrete_sampling: v_prediction, discrete_zsnr: True", "v-prediction", True, False),
        ("discrete_sampling: v_prediction, discrete_zsnr: False", "v-prediction", False, False),
        ("discrete_sampling: eps, discrete_zsnr: False", "Noise", False, False),
        ("discrete_sampling: eps, discrete_zsnr: True", "Noise", False, True),
    ])  # fmt: skip
    def test_discrete_is_a_model_kind(self, said: str, kind: str, zero: bool, warned: bool):
        line = f"advanced_sampling_enabled: True, advanced_sampling_mode: Discrete, {said}"
        reading = read_infotext(SCHEMA, parse_infotext(texts.text(line)))
        assert (reading.values["model.kind"], reading.values["model.zero_terminal_snr"]) == (kind, zero)
        assert reading.values["model.enabled"] and not reading.values["flow.enabled"] and not reading.errors
        assert bool(reading.warnings) == warned

    def test_a_shift_that_can_t_be_is_an_error(self):
        said = "advanced_sampling_enabled: True, advanced_sampling_mode: SD3, sd3_shift: 0"
        reading = read_infotext(SCHEMA, parse_infotext(texts.text(said)))
        assert reading.errors and "sd3_shift" in reading.errors[0]


class TestNoiseSchedule:
    """Forge writes its option's value for a checkpoint marked with zero terminal SNR, Neo what it does."""

    @pytest.mark.parametrize("said, version, warned", [
        ("Default", "f2.0.1v1.10.1-previous-659-gc055f2d4", False), ("Zero Terminal SNR", "f2.0.1v1.10.1-previous", True),
        ("Zero Terminal SNR", "neo-2.26", True),
    ])  # fmt: skip
    def test_forge_s_and_neo_s_mean_a_model_kind(self, said: str, version: str, warned: bool):
        reading = read_infotext(
            SCHEMA, parse_infotext(f"a\nSteps: 4, Sampler: Euler, Noise Schedule: {said}, Version: {version}")
        )
        assert reading.values["model.enabled"] and reading.values["model.kind"] == "v-prediction"
        assert reading.values["model.zero_terminal_snr"] and not reading.errors and bool(reading.warnings) == warned

    @pytest.mark.parametrize("more", ["Version: v1.10.1", "Size: 8x8", "PAG Active: True, PAG SANF: False, Version: v1.10.1"])
    def test_a1111_s_is_the_host_s_own_option(self, more: str):
        reading = read_infotext(
            SCHEMA, parse_infotext(f"a\nSteps: 4, Sampler: Euler, Noise Schedule: Zero Terminal SNR, {more}")
        )
        assert not reading.values["model.enabled"] and not reading.errors + reading.warnings

    def test_ours_counts_beside_it(self):
        said = (
            "Steps: 4, Sampler: Euler, Noise Schedule: Zero Terminal SNR, Model Kind: v-prediction, SDFM: 1, Version: neo-2.26"
        )
        reading = read_infotext(SCHEMA, parse_infotext(f"a\n{said}"))
        assert reading.values["model.kind"] == "v-prediction" and not reading.values["model.zero_terminal_snr"]
        assert not reading.errors + reading.warnings
