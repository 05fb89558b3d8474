"""The table of samplers: every name of every row through every question, and names that nobody wrote down."""

from __future__ import annotations

import re

import pytest
import torch

from lib_sdfm.catalog import SCHEMA
from lib_sdfm.errors import UnsupportedError
from lib_sdfm.hosts.named_samplers import DDIM_CFGPP, NAMED_SAMPLERS
from lib_sdfm.ops import cfgpp_samplers
from lib_sdfm.ops.flow_schedules import SCHEDULES as FLOW_SCHEDULES
from lib_sdfm.sampling.flow import default_end, flow_sampler
from lib_sdfm.sampling.sampler_names import (
    AUTOMATIC,
    SCHEDULES,
    normalised,
    require_spans,
    resolve_sampler,
    sampler_of,
)
from lib_sdfm.sampling.sampler_record import APPROXIMATE, EXACT, SamplerRecord
from lib_sdfm.sampling.samplers import SAMPLERS
from lib_sdfm.schema.foreign.sampler import host_sampler, mended_samplers, unknown_samplers
from lib_sdfm.schema.host_names import HostNames
from lib_sdfm.schema.infotext import parse_infotext, read_infotext
from tests.schema import foreign_texts as texts
from tests.support import stable_diffusion_alphas

A1111 = (
    "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a", "Euler", "LMS",
    "Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart", "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM",
)  # fmt: skip
FORGE = ("HeunPP2", "IPNDM", "IPNDM_V", "DEIS", "DDPM")
OF_A1111 = {
    "k_dpmpp_2m": "DPM++ 2M", "k_dpmpp_sde": "DPM++ SDE", "k_dpmpp_2m_sde": "DPM++ 2M SDE",
    "k_dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun", "k_dpmpp_2s_a": "DPM++ 2S a", "k_dpmpp_3m_sde": "DPM++ 3M SDE",
    "k_euler_a": "Euler a", "k_euler_ancestral": "Euler a", "k_euler": "Euler", "k_lms": "LMS", "k_heun": "Heun",
    "k_dpm_2": "DPM2", "k_dpm_2_a": "DPM2 a", "k_dpm_fast": "DPM fast", "k_dpm_ad": "DPM adaptive", "restart": "Restart",
    "ddim": "DDIM", "ddim_cfgpp": "DDIM CFG++", "plms": "PLMS", "unipc": "UniPC", "k_lcm": "LCM",
}  # fmt: skip
OF_REFORGE = {
    "Euler Comfy": "Euler", "Euler A Comfy": "Euler a", "Euler A Comfy RF": "Euler a", "Heun Comfy": "Heun",
    "DPM++ 2S Ancestral Comfy": "DPM++ 2S a", "DPM++ 2S Ancestral Comfy RF": "DPM++ 2S a", "DPM++ SDE Comfy": "DPM++ SDE",
    "DPM++ 2M Comfy": "DPM++ 2M", "DPM++ 2M SDE Comfy": "DPM++ 2M SDE", "DPM++ 3M SDE Comfy": "DPM++ 3M SDE",
}  # fmt: skip
OF_COMFYUI = {
    "euler": "Euler", "euler_cfg_pp": "Euler CFG++", "euler_ancestral": "Euler a",
    "euler_ancestral_cfg_pp": "Euler Ancestral CFG++", "heun": "Heun", "heunpp2": "HeunPP2", "dpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a", "lms": "LMS", "dpm_fast": "DPM fast", "dpm_adaptive": "DPM adaptive",
    "dpmpp_2s_ancestral": "DPM++ 2S a", "dpmpp_2s_ancestral_cfg_pp": "DPM++ 2S Ancestral CFG++", "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_gpu": "DPM++ SDE", "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_cfg_pp": "DPM++ 2M CFG++", "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE", "dpmpp_3m_sde": "DPM++ 3M SDE", "dpmpp_3m_sde_gpu": "DPM++ 3M SDE", "ddpm": "DDPM",
    "lcm": "LCM", "ipndm": "IPNDM", "ipndm_v": "IPNDM_V", "deis": "DEIS", "res_multistep_cfg_pp": "RES Multistep CFG++",
    "res_multistep_ancestral_cfg_pp": "RES Multistep Ancestral CFG++",
    "gradient_estimation_cfg_pp": "Gradient Estimation CFG++", "dpmpp_2m_sde_cfg_pp": "DPM++ 2M SDE CFG++",
    "dpmpp_2m_sde_gpu_cfg_pp": "DPM++ 2M SDE CFG++", "dpmpp_3m_sde_gpu_cfg_pp": "DPM++ 3M SDE CFG++", "ddim": "DDIM",
    "uni_pc": "UniPC", "uni_pc_bh2": "UniPC",
}  # fmt: skip
OTHERS = {
    "Euler A CFG++": "Euler Ancestral CFG++", "euler a cfg++": "Euler Ancestral CFG++", "EULER": "Euler", "Euler A": "Euler a",
    "dpm++ 2m sde": "DPM++ 2M SDE", "DPM++ 2s a RF": "DPM++ 2S a", "RES multistep CFG++": "RES Multistep CFG++",
}  # fmt: skip
GLUED = {
    "DPM++ 2M Karras": ("DPM++ 2M", "Karras"), "DPM2 a Karras": ("DPM2 a", "Karras"), "LMS Karras": ("LMS", "Karras"),
    "DPM++ 2M SDE Heun Exponential": ("DPM++ 2M SDE Heun", "Exponential"),
    "euler_ancestral_cfg_pp_karras": ("Euler Ancestral CFG++", "Karras"),
    "res_multistep_cfg_pp_beta": ("RES Multistep CFG++", "Beta"),
    "dpmpp_2m_sde_gpu_exponential": ("DPM++ 2M SDE", "Exponential"), "euler_sgm_uniform": ("Euler", "SGM Uniform"),
    "heun_ddim_uniform": ("Heun", "DDIM"), "ddim_ddim_uniform": ("DDIM", "DDIM"), "uni_pc_kl_optimal": ("UniPC", "KL Optimal"),
    "DPM++ SDE SGMUniform": ("DPM++ SDE", "SGM Uniform"), "lcm_simple": ("LCM", "Simple"),
}  # fmt: skip
NAMES = [(name, record) for record in SAMPLERS for name in (record.name, *record.aliases)]
EVERY_NAME = pytest.mark.parametrize(("name", "record"), NAMES, ids=[name for name, _ in NAMES])
SIGMAS = torch.tensor([14.6, 5.0, 2.0, 1.0, 0.5, 0.1, 0.0])
ARGUMENTS = {
    "sigmas": SIGMAS, "timesteps": torch.tensor([1, 201, 401, 601, 801]), "alpha_bars": stable_diffusion_alphas().tolist(),
    "eta": 1.0, "sigma_min": 0.1, "sigma_max": 14.6, "n": 9,
}  # fmt: skip


@EVERY_NAME
class TestEveryName:
    def test_it_is_found_in_any_spelling(self, name: str, record: SamplerRecord):
        for spelling in (name, name.upper(), name.lower(), name.replace(" ", "_"), f" {name} "):
            assert resolve_sampler(spelling).sampler is record, spelling

    def test_it_is_found_with_any_schedule_behind_it(self, name: str, record: SamplerRecord):
        for label, aliases in SCHEDULES.items():
            for ending in (label, *aliases):
                for glue in " _":
                    found = resolve_sampler(f"{name}{glue}{ending.lower()}")
                    assert (found.sampler, found.schedule, found.nearest) == (record, label, None), ending

    def test_it_is_run_with_a_flow_model_as_its_row_says(self, name: str, record: SamplerRecord):
        assert flow_sampler(name) is record.flow and flow_sampler(f"{name} Karras") is record.flow
        assert default_end(name, 3.0) == default_end(record.name, 3.0)
        assert record.flow.schedule in FLOW_SCHEDULES

    def test_its_function_leads_to_it(self, name: str, record: SamplerRecord):
        for function in record.functions:
            assert sampler_of(name, function) is record
            assert function in sampler_of("an unknown name", function).functions

    def test_cfgpp_is_known_or_refused_by_that_name(self, name: str, record: SamplerRecord):
        for function in record.functions:
            if record.spans is not None:
                assert require_spans(name, function) is record.spans and record.grade in (EXACT, APPROXIMATE)
                continue
            with pytest.raises(UnsupportedError) as caught:
                require_spans(name, function)
            assert f"CFG++: {name} {record.refused}" in str(caught.value)

    def test_calls_and_spans_are_of_the_same_steps(self, name: str, record: SamplerRecord):
        if record.calls is None:
            assert record.spans is None and record.own_steps
            return
        calls = record.calls(ARGUMENTS)
        most = 2 if record.functions == ("plms",) else record.calls_per_step
        assert max(len(levels) for levels in calls) == most and min(len(levels) for levels in calls) >= 1
        if record.spans is not None:
            spans = record.spans(ARGUMENTS)
            assert len(spans) == len(calls) and all(start > 0 and end >= 0 for start, end in spans)
            if not record.in_timesteps:
                assert [levels[0] for levels in calls] == pytest.approx([span.start for span in spans])

    def test_a_webui_that_has_it_reads_it(self, name: str, record: SamplerRecord):
        known = {row.name for row in SAMPLERS}
        assert host_sampler(name, known) == (record.name, None)
        assert host_sampler(f"{name}_karras", known) == (record.name, "Karras")
        mended = {"Sampler": name, "Schedule type": "Automatic", **mended_samplers({"Sampler": name}, known)}
        assert mended == {"Sampler": record.name, "Schedule type": "Automatic"}
        assert unknown_samplers({"Sampler": name, "Hires sampler": f"{name}_karras"}, HostNames(known)) == []

    def test_forges_windows_know_its_calls(self, name: str, record: SamplerRecord):
        pairs = parse_infotext(texts.text("pagi_enabled: True, pagi_scale: 3.0, pagi_start_step: 0.3, pagi_end_step: 0.7"))
        warnings = read_infotext(SCHEMA, {**pairs, "Sampler": name}).warnings
        assert any("middle of a step" in line for line in warnings) == (record.calls_per_step > 1)


@pytest.mark.parametrize(
    ("name", "meant"), [*OF_A1111.items(), *OF_REFORGE.items(), *OF_COMFYUI.items(), *OTHERS.items()], ids=str
)
def test_names_of_other_webuis(name: str, meant: str):
    found = resolve_sampler(name)
    assert (found.sampler.name, found.schedule) == (meant, None)


@pytest.mark.parametrize(("name", "meant"), GLUED.items(), ids=GLUED)
def test_a_schedule_behind_the_name(name: str, meant: tuple[str, str]):
    found = resolve_sampler(name)
    assert (found.sampler.name, found.schedule) == meant


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Euler Dy CFG++", "Euler CFG++"), ("DPM++ 2M SDE CFG++ x", "DPM++ 2M SDE CFG++"), ("Heunn", "Heun"),
        ("euler_linear_quadratic", "Euler"), ("karras", None), ("", None), ("_", None), ("quantum", None), ("None", None),
    ],
)  # fmt: skip
def test_what_is_unknown_has_at_most_a_nearest(name: str, nearest: str | None):
    found = resolve_sampler(name)
    assert (found.sampler, found.schedule, found.nearest) == (None, None, nearest)


NEO = ("UniPC of noise levels", "Res Multistep")
"""Forge Neo's further samplers, the first one under the name of another: UniPC."""


def test_all_of_a1111s_and_forges_samplers_have_a_row():
    assert {*A1111, *FORGE, *NEO} <= {record.name for record in SAMPLERS}
    named = [record for record in SAMPLERS if record.name not in (*A1111, *FORGE, *NEO, DDIM_CFGPP)]
    assert [record.name for record in named] == [sampler.name for sampler in NAMED_SAMPLERS]
    ours = {name for name in vars(cfgpp_samplers) if name.startswith("sample_")}
    assert {record.functions[0] for record in named} == ours


def test_no_name_is_in_two_rows():
    owners: dict[str, set[str]] = {}
    for name, record in NAMES:
        owners.setdefault(normalised(name), set()).add(record.name)
    assert all(len(rows) == 1 for rows in owners.values())
    endings = [normalised(ending) for label, aliases in SCHEDULES.items() for ending in (label, *aliases)]
    assert all(not re.search(rf" ({'|'.join(map(re.escape, endings))})$", name) for name in owners)  # never cut off


def test_schedules_of_flow_models_are_among_the_known_ones():
    assert {AUTOMATIC, *FLOW_SCHEDULES} <= set(SCHEDULES)


def test_whose_scale_is_lambda():
    assert {record.name for record in SAMPLERS if record.cfg_unit != 1} == {
        "DDIM CFG++", *(sampler.name for sampler in NAMED_SAMPLERS)
    }  # fmt: skip


def test_a_host_that_has_it_under_another_name():
    """Neo's own CFG++ samplers, and a sampler of another extension in other capitals."""
    known = ["Euler", "Euler a CFG++", "Kohaku LoNyu Yog"]
    assert host_sampler("euler_ancestral_cfg_pp_karras", known) == ("Euler a CFG++", "Karras")
    assert host_sampler("kohaku lonyu yog", known) == ("Kohaku LoNyu Yog", None)
    assert host_sampler("Kohaku_LoNyu_Yog_sgm_uniform", known) == ("Kohaku LoNyu Yog", "SGM Uniform")
    assert mended_samplers({"Sampler": "Kohaku LoNyu Yog Karras"}, known) == {}
    assert host_sampler("Heun Comfy", known) is None
    assert unknown_samplers({"Sampler": "Heun Comfy", "Hires sampler": "Use same sampler"}, HostNames(known)) == [
        "Sampler: Heun Comfy: this WebUI has no such sampler and uses another one"
    ]
    (line,) = unknown_samplers({"Hires sampler": "Euler Dy CFG++"}, HostNames(known))
    assert line.startswith("Hires sampler: Euler Dy CFG++: ") and line.endswith("the nearest is Euler a CFG++")


def test_what_the_host_reads_itself_stays():
    known = {"DPM++ 2M", "Euler"}
    for name in ("Euler", "DPM++ 2M Karras", ""):
        assert mended_samplers({"Sampler": name, "Hires sampler": "Use same sampler"}, known) == {}
    assert mended_samplers({"Sampler": "DPM++ 2M karras"}, known) == {"Sampler": "DPM++ 2M", "Schedule type": "Karras"}
    assert mended_samplers({"Sampler": "Heun_dynthres1"}, known) == {"Sampler": "Heun"}
