"""Texts and requests from public reports: each is read rightly, or what can't be read is named."""

from __future__ import annotations

from typing import Any

import pytest

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.planning.explain import explain_infotext, explain_payload
from lib_sdfm.schema.foreign.sampler import mended_samplers, unknown_samplers
from lib_sdfm.schema.grammar import parse_infotext
from lib_sdfm.schema.host_names import NAMES, HostNames
from lib_sdfm.schema.reading import read_parameters
from lib_sdfm.techniques.refiner_sync import RefinerSync

HEAD = "p\nNegative prompt: n\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, "
FREEU = 'FreeU Stages: "[{\\"skip_factor\\": 0.5}]"'


def explained(text: str) -> dict[str, Any]:
    report = explain_infotext(SCHEMA, text)
    assert not set(report["understood"]) & set(report["unknown"])
    return report


def unnamed(report: dict[str, Any], *keys: str) -> list[str]:
    """Keys that no warning names."""
    return [key for key in keys if not any(key in line for line in report["warnings"])]


def posted(scripts: Any, **more: Any) -> dict[str, Any]:
    return explain_payload(SCHEMA, {"alwayson_scripts": scripts, **more})


REFORGE_FLOW = (
    "p\nNegative prompt: n\nSteps: 4, Sampler: Euler Comfy, Schedule type: Normal, CFG scale: 4, Seed: 1, Size: 96x96, "
    "Model: m, advanced_sampling_enabled: True, advanced_sampling_mode: SD3, sd3_shift: 6, "
    "Version: f1.0.0v2-v1.10.1RC-latest-2502-g630cf49b"
)


def test_reforges_flow_picture_is_euler_with_its_shift():
    report = explained(REFORGE_FLOW)
    assert report["sampler"] == {"name": "Euler", "schedule": "Normal"} and report["written_by"] == "reForge 1.0.0"
    assert (report["techniques"]["flow"]["mode"], report["techniques"]["flow"]["shift"]) == ("On", 6)
    assert report["errors"] == report["warnings"] == report["unknown"] == []


@pytest.mark.parametrize(
    ("said", "sampler", "schedule"),
    [
        ("Euler Comfy", "Euler", "Automatic"),
        ("Euler A Comfy", "Euler a", "Automatic"),
        ("Euler A Comfy RF", "Euler a", "Automatic"),
        ("Heun Comfy", "Heun", "Automatic"),
        ("DPM++ 2S Ancestral Comfy", "DPM++ 2S a", "Automatic"),
        ("DPM++ 2S Ancestral Comfy RF", "DPM++ 2S a", "Automatic"),
        ("DPM++ SDE Comfy", "DPM++ SDE", "Automatic"),
        ("DPM++ 2M Comfy", "DPM++ 2M", "Automatic"),
        ("DPM++ 2M SDE Comfy", "DPM++ 2M SDE", "Automatic"),
        ("DPM++ 3M SDE Comfy", "DPM++ 3M SDE", "Automatic"),
        ("euler_ancestral_cfg_pp_karras", "Euler Ancestral CFG++", "Karras"),
        ("res_multistep_cfg_pp_beta", "RES Multistep CFG++", "Beta"),
        ("dpmpp_2m_sde_gpu_sgm_uniform", "DPM++ 2M SDE", "SGM Uniform"),
        ("uni_pc_bh2_simple", "UniPC", "Simple"),
        ("DPM++ 2M Karras", "DPM++ 2M", "Karras"),
        ("Euler A CFG++", "Euler Ancestral CFG++", "Automatic"),
        ("Euler a_dynthres1", "Euler a", "Automatic"),
    ],
)
def test_samplers_of_others_are_resolved_with_the_schedule_behind_them(said: str, sampler: str, schedule: str):
    report = explained(HEAD.replace("Euler a", said) + "Version: v1.10.1")
    assert report["sampler"] == {"name": sampler, "schedule": schedule} and report["warnings"] == []
    mended = mended_samplers({"Sampler": said}, NAMES)
    assert mended.get("Schedule type", "Karras" if said == "DPM++ 2M Karras" else "Automatic") == schedule


@pytest.mark.parametrize(
    ("said", "nearest"), [("Euler Dy CFG++", "Euler CFG++"), ("DPM++ 2M Alt", "DPM++ 2M"), ("er_sde", None)]
)
def test_a_sampler_that_is_missing_is_named_with_the_nearest(said: str, nearest: str | None):
    report = explained(HEAD.replace("Euler a", said) + "Version: v1.10.1")
    (warning,) = report["warnings"]
    assert report["sampler"] is None and warning.startswith(f"Sampler: {said}: ")
    assert ("the nearest is" in warning) is (nearest is not None) and (nearest or "") in warning
    assert posted({}, sampler_name=said)["warnings"] == [warning.replace("Sampler: ", "sampler_name: ", 1)]


@pytest.mark.parametrize(
    ("said", "mended"),
    [
        ({"Schedule type": "karras"}, {"Schedule type": "Karras"}),
        ({"Schedule type": "sgm_uniform"}, {"Schedule type": "SGM Uniform"}),
        ({"Schedule type": "Automatic", "Scheduler": "ddim_uniform"}, {"Schedule type": "DDIM"}),
        ({"Schedule type": "Karras", "Scheduler": "normal"}, {}),
        ({"Hires schedule type": "simple"}, {"Hires schedule type": "Simple"}),
        ({"Hires schedule type": "Use same scheduler"}, {}),
    ],
)
def test_schedules_of_others_are_resolved(said: dict[str, str], mended: dict[str, str]):
    assert mended_samplers({"Sampler": "Euler", **said}, NAMES) == mended
    assert unknown_samplers({"Sampler": "Euler", **said}, HostNames()) == []


@pytest.mark.parametrize("key", ["Schedule type", "Hires schedule type"])
@pytest.mark.parametrize("said", ["beta57", "Beta", "beta"])
def test_a_schedule_that_is_missing_is_named(key: str, said: str):
    """In a WebUI without Beta, which SDFM knows; in one that writes it otherwise it isn't missing."""
    without = HostNames(schedules={"Automatic", "Karras", "karras"})
    (line,) = read_parameters(SCHEMA, {"Sampler": "Euler", key: said}, (), without).warnings
    assert line.startswith(f"{key}: {said}: this WebUI has no such schedule")
    other = HostNames(schedules={"Automatic", "BETA", "beta57"})
    assert read_parameters(SCHEMA, {"Sampler": "Euler", key: said}, (), other).warnings == []


@pytest.mark.parametrize(
    ("keys", "writer"),
    [
        ("Version: v1.10.1", "A1111 1.10.1"),
        ("Version: 1.6.0", "A1111 1.6.0"),
        ("Version: v1.9.4-169-gdf4da02b", "A1111 1.9.4"),
        ("Version: v1.5.2", "A1111 1.5.2"),
        ("Version: f2.0.1v1.10.1-previous-669-gdfdcbab6", "Forge 2.0.1"),
        ("Version: f0.0.17v1.8.0rc-latest-276-g29be1da7", "Forge 0.0.17"),
        ("Version: f1.0.0v2-v1.10.1RC-latest-2502-g630cf49b", "reForge 1.0.0"),
        ("Version: neo-2.29", "Forge Neo 2.29"),
        ("Version: neo", "Forge Neo"),
        ("Version: classic-1.5", "Forge Classic 1.5"),
        ("App: SD.Next, Version: 8b73cb6", "SD.Next 8b73cb6"),
        ("Version: ComfyUI", "ComfyUI"),
        ("Version: Fooocus v2.5.5", "Fooocus v2.5.5"),
        ("dynthres_enabled: True, dynthres_simple_mode: True", "reForge"),
        ("pagi_enabled: True", "Forge"),
        ("PAG Active: True", None),
    ],
)
def test_who_wrote_a_text_is_told(keys: str, writer: str | None):
    assert explained(HEAD + keys)["written_by"] == writer


def test_extensions_are_told_from_one_another():
    assert explained(HEAD + "PAG Active: True, pag_enabled: True")["extensions"] == ["incantations", "sd-perturbed-attention"]
    assert explained(HEAD + "PAG Active: True, SDFM: 1")["extensions"] == ["SDFM"]


def test_neos_cfg_rescale_is_ours_and_a_shift_is_named():
    report = explained(HEAD + "Rescale CFG: 0.7, Version: neo-2.29")
    assert report["techniques"]["cfg_rescale"]["phi"] == 0.7 and report["warnings"] == []
    assert report["written_by"] == "Forge Neo 2.29"
    report = explained(HEAD + "Model: mystery, Shift: 3, Version: neo-2.29")
    assert report["techniques"] == {} and "Shift: 3" in report["warnings"][0] and "flow model" in report["warnings"][0]
    report = explained(HEAD + "Model: some-rectified-xl, Shift: 3.5, Version: neo-2.29")
    assert report["techniques"]["flow"]["shift"] == 3.5 and report["warnings"] == []
    report = explained(HEAD + "Hires upscale: 2, Rescale CFG: 0.7, Version: neo-2.29")
    assert "hires pass" in report["warnings"][0]


@pytest.mark.parametrize("keys", ["PAG Active: True, PAG Scale: 1", "pag_enabled: True", "CFG rescale: 0"])
def test_the_0_that_neos_parser_adds_says_nothing(keys: str):
    report = explained(HEAD + f"{keys}, Rescale CFG: 0.0")
    assert report["warnings"] == report["errors"] == report["unknown"] == [] and "cfg_rescale" not in report["techniques"]


def test_neos_other_methods_are_ours():
    report = explained(HEAD + "Rescale CFG: 0.7, MaHiRo: True, Version: neo-2.29")
    assert report["techniques"]["cfg_rescale"]["phi"] == 0.7 and "mahiro" in report["techniques"]
    assert report["errors"] == [] and len(report["warnings"]) == 1 and "after CFG rescale" in report["warnings"][0]
    report = explained(HEAD + "eps_scaling_factor: 1.02, Version: neo-2.29")
    assert report["techniques"]["epsilon_scaling"]["factor"] == 1.02 and report["warnings"] == []
    assert list(explained(HEAD + "mahiro_cfg_enabled: True")["techniques"]) == ["mahiro"]


def test_pamparamms_tpg_is_ours():
    keys = "tpg_enabled: True, tpg_scale: 5, tpg_rescale: 0.2, tpg_rescale_mode: full, tpg_sigma_start: 15, tpg_sigma_end: 5.42"
    report = explained(HEAD + f"{keys}, tpg_hr_override: True, tpg_hr_scale: 2")
    tpg = report["techniques"]["tpg"]
    assert (tpg["scale"], tpg["rescale"], tpg["sigma_from"], tpg["sigma_to"], tpg["hires_scale"]) == (5, 0.2, 15, 5.42, 2)
    assert report["errors"] == report["unknown"] == [] and len(report["warnings"]) == 1 and "blocks" in report["warnings"][0]


def test_apg_has_the_meaning_of_whoever_wrote_it():
    """The keys are shared by three programs, and one of them writes the paper's method."""
    apg = explained(HEAD + "APG Eta: 0.0, APG Norm Threshold: 12, APG Momentum: -0.3")["techniques"]["apg"]
    assert (apg["eta"], apg["norm_threshold"], apg["momentum"]) == (0.0, 12.0, -0.3)
    assert explained(HEAD + "APG Eta: 0")["techniques"]["apg"]["momentum"] == 0.0
    for others in ("APG Active: True, APG Momentum: -0.5", "Integrated Guidance Enabled: True, APG Eta: 0.00", "APG Eta: None"):
        assert explained(HEAD + others)["techniques"] == {}
    ours = "SDFM APG Active: True, SDFM APG Eta: 0.2, APG Eta: 0.5, SDFM: 1"
    report = explained(HEAD + ours)
    assert report["techniques"]["apg"]["eta"] == 0.2 and "APG Eta: 0.5" in report["warnings"][0]


def test_sdnexts_values_are_read_and_the_rest_is_named():
    keys = "CFG rescale: 0.7, CFGZero: True, APG: ETA=1.0 Momentum=-0.5 Threshold=0.0, FreeU: b1=1.2 b2=1.4 s1=0.9 s2=0.2"
    report = explained(HEAD + f"{keys}, App: SD.Next, Version: 8b73cb6")
    freeu = report["techniques"]["freeu"]
    assert [freeu[f"stage{n}_{what}"] for n in (1, 2) for what in ("backbone", "skip")] == [1.2, 0.9, 1.4, 0.2]
    assert freeu["version"] == "1" and report["techniques"]["cfg_rescale"]["phi"] == 0.7
    assert [any(key in line for line in report["warnings"]) for key in ("CFGZero: True", "APG: ETA=1.0", "CFG rescale")] == [
        True
    ] * 3
    assert report["errors"] == [] and report["recipe"] == "sdfm"


REFINER_TEXT = (
    "[cat:dog:0.4]\nNegative prompt: [x:y:0.4]\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, "
    "Refiner: b [0123456789], Refiner switch at: 0.4, Version: v1.10.1"
)


def test_numbers_of_another_text_do_not_follow_the_refiner():
    report = explained(REFINER_TEXT)
    assert report["standing"]["refiner_sync"]["numbers"] is False
    assert explained(REFINER_TEXT.replace(":0.4]", ":0.3]"))["standing"]["refiner_sync"]["numbers"] is True
    assert RefinerSync.unmentioned({"Prompt": "[a:b:0.4]", "Refiner switch at": "0.4"}) == {"numbers": False}


def test_a_text_that_the_webui_cannot_read_says_so():
    behind = HEAD + "Version: v1.10.1\nTemplate: {a|b}\nNegative Template: n"
    (warning,) = explained(behind)["warnings"][:1]
    assert "line 3 of 5" in warning and "Negative Template: n" in warning and "last line" in warning
    for text, word in [
        ("", "empty"),
        ("  \n", "empty"),
        ('{"3": {"class_type": "KSampler", "inputs": {}}}', "ComfyUI"),
        ('{"sui_image_params": {}}', "SwarmUI"),
        ('{"a": 1}', "JSON"),
        ("a cat", "no line contains parameters"),
    ]:
        assert word in explained(text)["warnings"][0], text


def test_the_panel_hears_of_parameters_before_the_last_line():
    """Its targets see only what the host has parsed."""
    from sdfm_webui.paste import PasteTargets

    params = {"Prompt": "p", "Negative prompt": "n\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1\nTemplate: x"}
    assert "last line" in PasteTargets(SCHEMA).notice(params)
    assert PasteTargets(SCHEMA).notice({"Prompt": "Steps: 3, a: b, c: d", "Negative prompt": ""}) == ""


def test_branches_of_incantations_are_named_and_nothing_is_understood_and_unknown():
    keys = "PAG Active: True, PAG SANF: False, PAG Scale: 3, PAG Start Step: 0, PAG End Step: 150, TCG Active: True, "
    report = explained(HEAD + keys + "ICG Active: True, PAG Autoguidance: True, Version: v1.9.4")
    assert report["techniques"]["pag"]["scale"] == 3 and report["recipe"] == "original" and report["unknown"] == []
    assert [
        key for key in ("TCG Active", "ICG Active", "PAG Autoguidance") if not any(key in w for w in report["warnings"])
    ] == []
    report = explained(HEAD + "SCFG Active: True, SCFG Scale: 1, SCFG R: 4")
    assert report["unknown"] == [] and "SCFG Active" in report["understood"] and "S-CFG" in report["warnings"][0]


@pytest.mark.parametrize(
    "keys",
    [
        "MaHiRo: True", "mahiro_cfg_enabled: True", "apgisyourcfg_enabled: True, apgisyourcfg_eta: 1", "tcfg: enabled",
        "APG Active: True, APG Momentum: -0.5, APG Norm Threshold: 15", "cfgzero: enabled, cfgzero_zero_init_steps: 1",
        "NAG Scale: 5, NAG Alpha: 0.5, NAG Tau: 1.5", "CFG true: 3, CFG adaptive: 0.2", "CFG end: 0.8", "CFGZero: True",
        "Integrated Guidance Enabled: True, APG Eta: 0.00, APG Norm Threshold: 5, APG Beta: 0",
        "swg_enabled: True, swg_scale: 5",
    ],
)  # fmt: skip
def test_methods_of_others_are_known_and_named_where_they_cannot_be_had(keys: str):
    report = explained(HEAD + keys + ", Version: v1.10.1")
    available = report["techniques"] != {}
    assert report["unknown"] == [] and report["errors"] == [] and (available or keys.split(",")[0] in report["warnings"][0])


class TestMarks:
    WITH_REFINER = "Refiner: b [0123456789], Refiner switch at: 0.4, Version: v1.10.1"

    @pytest.mark.parametrize("prompt", ["[a red circle:a blue square:Refiner]", "[a:b：refiner]", "[a：b：REFINER]"])
    def test_capitals_and_full_width_colons_are_marks(self, prompt: str):
        assert explained(HEAD.replace("p\n", f"{prompt}\n", 1) + self.WITH_REFINER)["warnings"] == []

    @pytest.mark.parametrize("prompt", ["[a:b:refinner]", "[a:b:refine]", "[a:b:c:refiner]"])
    def test_a_near_miss_is_named(self, prompt: str):
        (warning,) = explained(HEAD.replace("p\n", f"{prompt}\n", 1) + self.WITH_REFINER)["warnings"]
        assert prompt.rpartition(":")[2] in warning and "[from:to:refiner]" in warning

    def test_a_mark_without_a_refiner_is_named(self):
        (warning,) = explained(HEAD.replace("p\n", "[a:b:refiner]\n", 1) + "Version: v1.10.1")["warnings"]
        assert "no refiner" in warning
        assert "no refiner" in posted({}, prompt="[a:b:refiner]")["warnings"][0]
        assert posted({}, prompt="[a:b:refiner]", refiner_checkpoint="b")["warnings"] == []

    @pytest.mark.parametrize("prompt", [r"\[a:b:refiner\]", "a refiner", "[a:b:0.5]", "[refined]", "[a:b|c:d]"])
    def test_what_is_text_is_left_alone(self, prompt: str):
        assert explained(HEAD.replace("p\n", f"{prompt}\n", 1) + "Version: v1.10.1")["warnings"] == []


class TestPayloads:
    @pytest.mark.parametrize(
        "body",
        [
            {"SDFM": {"pag": {}}}, {"SDFM": [{"pag": {}}]}, {"SDFM": {"args": {"pag": {}}}}, {"SDFM": {}}, {"sdfm": None},
            {"SDFM": {"args": [], "pag": {}}}, {"SDFM": {"args": [{"pag": {}}, {"seg": {}}]}}, [{"SDFM": {}}],
        ],
        ids=str,
    )  # fmt: skip
    def test_a_shape_that_the_webui_drops_is_named(self, body: Any):
        assert '{"args": [{"pag": {"scale": 3}}]}' in posted(body)["warnings"][0] or "`args`" in posted(body)["warnings"][0]

    def test_settings_outside_of_alwayson_scripts_are_named(self):
        assert "`pag`" in posted({}, pag={"scale": 3})["warnings"][0] and "`sdfm`" in posted({}, sdfm={})["warnings"][0]
        assert posted({"SDFM": {"args": [{"pag": {}}]}})["warnings"] == []

    def test_values_that_mean_the_same_are_taken_and_texts_of_numbers_are_not(self):
        report = posted({"SDFM": {"args": [{"freeu": {"version": 2}, "pag": {"scale": 3, "end_step": 9.0}}]}})
        assert report["errors"] == [] and report["techniques"]["freeu"]["version"] == "2"
        assert report["techniques"]["pag"]["scale"] == 3.0 and report["techniques"]["pag"]["end_step"] == 9
        for wrong in ({"pag": {"scale": "3"}}, {"freeu": {"version": 3}}, {"freeu": {"version": True}}):
            ((name, said),) = wrong.items()
            assert f"{name}.{next(iter(said))}" in posted({"SDFM": {"args": [wrong]}})["errors"][0]

    @pytest.mark.parametrize("title", ["Dynamic Thresholding (CFG Scale Fix)", "Incantations"])
    def test_a_dictionary_where_a_list_was_expected_shows_the_order(self, title: str):
        (error,) = posted({title: {"args": [{"mimic_scale": 7}]}})["errors"]
        first = {"Incantations": "SEG Active, SEG Blur Sigma"}.get(title, "Dynamic thresholding enabled, Mimic scale")
        assert first in error and "in this order" in error

    def test_freeus_whole_numbers_are_steps_and_its_version_a_text(self):
        said = {"start_ratio": 0, "stop_ratio": 1, "version": 2, "stage_infos": [{"backbone_factor": 1.2}]}
        report = posted({"FreeU": {"args": [said]}})
        freeu = report["techniques"]["freeu"]
        assert (freeu["stop"], freeu["stop_in_steps"], freeu["version"]) == (1.0, True, "1")
        assert "stop_ratio 1" in report["warnings"][0] and "version 2" in report["warnings"][1] and len(report["warnings"]) == 2
        said = {**said, "stop_ratio": 1.0, "version": "2"}
        assert posted({"FreeU": {"args": [said]}})["warnings"] == []

    def test_so_does_a_text(self):
        keys = 'FreeU Stages: "[{\\"skip_factor\\": 0.5}]", FreeU Schedule: "0, 1, 0.0", FreeU Version: 2'
        assert "step 1" in explained(HEAD + keys)["warnings"][0]
        assert explained(HEAD + keys + ", SDFM: 1")["warnings"] == []


class TestWithoutEffect:
    """Techniques that do nothing in the whole job are named with the reason."""

    @pytest.mark.parametrize(
        ("keys", "technique", "why"),
        [
            ("PAG Active: True, PAG Scale: 3, PAG Start Step: 9, PAG End Step: 3, SDFM: 1", "pag", "from 9 to 3"),
            ("PAG Active: True, PAG Scale: 3, PAG Start Step: 20, PAG End Step: 150, SDFM: 1", "pag", "the 20 steps"),
            ("SEG Active: True, SEG Start Step: 9, SEG End Step: 3", "seg", "from 9 to 3"),
            (
                'FreeU Stages: "[{\\"skip_factor\\": 0.5}]", FreeU Schedule: "0.9, 0.1, 0.0", SDFM: 1',
                "freeu",
                "from 0.9 to 0.1",
            ),
            (f'{FREEU}, FreeU Schedule: "0.9, 0.1, 0.0"', "freeu", "from 0.9 to 0.1"),
            ("CFG Rescale: 0.7, NGMS: 15, NGMS all steps: True, SDFM: 1", "cfg_rescale", "minimum sigma"),
            ("CFG Interval Enable: True, CFG Interval Schedule: Linear, Skip Early CFG: 1.0", "cfg_schedule", "early sampling"),
            ("SEG Active: True, Skip Early CFG: 1.0", "seg", "no unconditional prediction"),
        ],
    )
    def test_windows_and_missing_predictions(self, keys: str, technique: str, why: str):
        report = explained(HEAD + keys)
        (inert,) = report["inert"]
        assert inert["technique"] == technique and why in inert["why"] and report["passes"]["total"] == 2
        assert report["conditions"] == []

    @pytest.mark.parametrize(
        ("keys", "inert"),
        [
            ("CFG Rescale: 0.7, SDFM: 1", ["cfg_rescale"]),
            ("CFG Rescale: 0.7, PAG Active: True, PAG Scale: 3, SDFM: 1", []),
            ("CFG Rescale: 0.7, CFG Interval Enable: True, CFG Interval Schedule: Linear, SDFM: 1", []),
            ("CFG Rescale: 0.7, CFGpp Scale: 0.6, SDFM: 1", []),
            ("SEG Active: True", ["seg"]),
            ("SEG Active: True, PAG Active: True, PAG Scale: 1", ["seg"]),
            ("SEG Active: True, PAG Active: True, PAG SANF: True, PAG Scale: 1", []),
            ("SEG Active: True, SEG Scale: 3, SDFM: 1", []),
            ("CFG Interval Enable: True, CFG Interval Schedule: Linear", []),
        ],
    )
    def test_cfg_scale_1(self, keys: str, inert: list[str]):
        text = HEAD.replace("CFG scale: 7", "CFG scale: 1") + keys
        assert [said["technique"] for said in explained(text)["inert"]] == inert
        assert explained(text.replace("p\n", "a AND b\n", 1))["inert"] == []
        assert explained(text.replace("Euler a", "DDIM CFG++"))["inert"] == []
        assert explained(text.replace("CFG scale: 1", "CFG scale: 2"))["inert"] == []

    def test_windows_that_hold_a_step_of_either_pass(self):
        late = "PAG Active: True, PAG Scale: 3, PAG Start Step: 25, PAG End Step: 150, SDFM: 1"
        assert explained(HEAD + late)["inert"] != []
        assert explained(HEAD + "Hires upscale: 2, Hires steps: 30, " + late)["inert"] == []
        assert explained(HEAD.replace("Euler a", "DPM adaptive") + late)["inert"] == []

    def test_a_request(self):
        scripts = {"SDFM": {"args": [{"cfg_rescale": {}, "pag": {"start_step": 12}}]}}
        assert posted(scripts, steps=20, cfg_scale=1)["inert"] == []
        found = posted(scripts, steps=10, cfg_scale=1, sampler_name="Euler")
        assert [said["technique"] for said in found["inert"]] == ["pag"]
        scripts = {"SDFM": {"args": [{"cfg_rescale": {}}]}}
        options = {"skip_early_cond": 1.0}
        assert posted(scripts, override_settings=options)["inert"] != [] == posted(scripts)["inert"]

    def test_an_interval_with_swapped_ends_is_an_error(self):
        keys = "CFG Interval Enable: True, CFG Interval Schedule: Linear, CFG Interval Low: 9, CFG Interval High: 3"
        assert "CFG Interval Low: 9" in explained(HEAD + keys + ", SDFM: 1")["errors"][0]
        assert explained(HEAD + keys)["errors"] == []


class TestStillRight:
    """Read rightly from the beginning."""

    PAG = "PAG Active: True, PAG Scale: 3"

    @pytest.mark.parametrize(
        "text",
        [
            "a cat\nNegative prompt: n\nSize: 512x512, Seed: 1, Steps: 20, Version: v1.10.1, Sampler: Euler a, "
            "PAG Scale: 3, CFG scale: 7, PAG Active: True",
            HEAD + PAG + ', Lora hashes: "lora: hash',
            HEAD + PAG + ', "lora: hash"',
            HEAD.replace("\n", " ") + PAG,
            HEAD.replace("\n", "\r\n") + PAG,
            (HEAD + PAG).replace(", ", ","),
            HEAD + PAG.replace("True", "true").replace("3", "3.00"),
            HEAD + PAG + ', ADetailer prompt: "a cat, PAG Scale: 9, SEG Active: True"',
        ],
    )
    def test_forms(self, text: str):
        report = explained(text)
        assert list(report["techniques"]) == ["pag"] and report["techniques"]["pag"]["scale"] == 3 and report["errors"] == []

    def test_more(self):
        report = explained(HEAD + "Dynamic thresholding enabled: True, Mimic mode: Power Up, Power scheduler value: 5")
        assert report["techniques"]["dynamic_thresholding"]["value"] == 5
        report = explained(HEAD + "pag_enabled: True, pag_block_list: , pag_rescale_mode: snf, pag_rescale: 0.5")
        assert report["techniques"]["pag"]["sanf"] is True and report["warnings"] == []
        both = 'FreeU Stages: "[{\\"skip_factor\\": 0.5}]", freeu_enabled: True, freeu_b1: 1.3'
        report = explained(HEAD + both)
        assert report["techniques"]["freeu"]["stage1_skip"] == 0.5 and "freeu_enabled" in report["warnings"][0]
        plot = 'Script: X/Y/Z plot, X Type: [PAG] PAG Scale, X Values: "1,2", PAG Active: True, PAG Scale: 2'
        assert explained(HEAD + plot)["techniques"]["pag"]["scale"] == 2

    def test_keys_in_prompts_are_prompt(self):
        assert parse_infotext("PAG Active: True, PAG Scale: 3, x: y\nSteps: 20, Sampler: Euler, Seed: 1").keys() == {
            "Steps", "Sampler", "Seed",
        }  # fmt: skip
