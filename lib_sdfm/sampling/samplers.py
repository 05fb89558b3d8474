"""The table of samplers, with one row per sampler. A new sampler is a new row.

:mod:`lib_sdfm.sampling.sampler_names` finds a row by a sampler's name in any WebUI, or by its function.
"""

from __future__ import annotations

from ..ops.flow_time import heun_weighted
from . import call_levels as at
from . import step_spans as down
from .sampler_record import (
    AFTER_LAST_CALL,
    CFG_OF_LAMBDA_1,
    CHOOSES_ITS_STEPS,
    EXACT,
    ONE_CALL_AHEAD,
    FlowRun,
    SamplerRecord,
)

LAMBDA = 1 / CFG_OF_LAMBDA_1

ONE_CALL = at.one_step_each(down.straight)
ONE_CALL_CHURNED = at.one_step_each(down.churned)
HALFWAY = at.one_step_each(down.straight, at.halfway)
ANCESTRAL_SDE, SDE = down.through_sigma(down.ancestral), down.through_sigma(down.stochastic)

NORMAL = FlowRun("Normal", softened=False)
IN_TIME = FlowRun(in_time=True, softened=False)
OWN_PLACES = FlowRun(softened=False)
EXPONENTIAL = FlowRun("Exponential")
DIVIDES = FlowRun(divides=True)

ENSD = {"uses_ensd": True}
SECOND_ORDER = {"second_order": True}
BROWNIAN = {"brownian_noise": True}

SAMPLERS: tuple[SamplerRecord, ...] = (
    SamplerRecord(
        "Euler", ("sample_euler",), ("k_euler", "euler", "Euler Comfy"), ONE_CALL_CHURNED,
        spans=down.churned, own_flow=down.churned, grade=EXACT, flow=NORMAL,
    ),
    SamplerRecord(
        "Euler a", ("sample_euler_ancestral",),
        ("k_euler_a", "k_euler_ancestral", "euler_ancestral", "Euler A Comfy", "Euler A Comfy RF"), ONE_CALL,
        spans=down.ancestral, own_flow=down.ancestral_in_time, grade=EXACT,
    ),
    SamplerRecord(
        "Heun", ("sample_heun",), ("k_heun", "heun", "Heun Comfy"), at.one_step_each(down.churned, at.at_the_end), 2,
        spans=down.churned, own_flow=down.churned, flow=IN_TIME,
    ),
    SamplerRecord(
        "HeunPP2", ("sample_heunpp2",), ("heunpp2",), at.one_step_each(down.churned, at.up_to_two_ahead), 3,
        spans=down.churned, own_flow=down.churned, flow=FlowRun(in_time=True, softened=False, instead=heun_weighted),
    ),
    SamplerRecord(
        "Restart", ("restart_sampler",), ("restart",), at.heun_calls(down.restart), 2,
        spans=down.restart, own_flow=down.restart, own_steps=True, flow=DIVIDES,
    ),
    SamplerRecord(
        "LMS", ("sample_lms",), ("k_lms", "lms"), ONE_CALL, spans=down.straight, own_flow=down.straight, flow=IN_TIME
    ),
    SamplerRecord(
        "DPM2", ("sample_dpm_2",), ("k_dpm_2", "dpm_2"), at.one_step_each(down.churned, at.halfway), 2,
        spans=down.churned, own_flow=down.churned, flow=IN_TIME,
    ),
    SamplerRecord(
        "DPM2 a", ("sample_dpm_2_ancestral",), ("k_dpm_2_a", "dpm_2_ancestral", "DPM2 Ancestral"), at.ancestral_calls, 2,
        spans=down.ancestral,
    ),
    SamplerRecord(
        "DPM fast", ("sample_dpm_fast",), ("k_dpm_fast", "dpm_fast"), at.dpm_fast_calls(down.dpm_fast), 3,
        spans=down.dpm_fast, flow=DIVIDES,
    ),
    SamplerRecord(
        "DPM adaptive", ("sample_dpm_adaptive",), ("k_dpm_ad", "dpm_adaptive"), None, 3, AFTER_LAST_CALL,
        refused=CHOOSES_ITS_STEPS, own_steps=True, by_error=True, flow=DIVIDES,
    ),
    SamplerRecord(
        "DPM++ 2M", ("sample_dpmpp_2m",), ("k_dpmpp_2m", "dpmpp_2m", "DPM++ 2M Comfy"), ONE_CALL, spans=down.straight,
        own_flow=down.straight,
    ),
    SamplerRecord(
        "DPM++ 2S a", ("sample_dpmpp_2s_ancestral", "sample_dpmpp_2s_ancestral_RF"),
        (
            "k_dpmpp_2s_a", "dpmpp_2s_ancestral", "DPM++ 2S Ancestral", "DPM++ 2S Ancestral Comfy",
            "DPM++ 2S Ancestral Comfy RF", "DPM++ 2S a RF",
        ), at.ancestral_calls, 2, spans=down.ancestral, own_flow=down.ancestral_in_time,
    ),
    SamplerRecord(
        "DPM++ SDE", ("sample_dpmpp_sde",), ("k_dpmpp_sde", "dpmpp_sde", "dpmpp_sde_gpu", "DPM++ SDE Comfy"), HALFWAY, 2,
        spans=down.ancestral, own_flow=ANCESTRAL_SDE,
    ),
    SamplerRecord(
        "DPM++ 2M SDE", ("sample_dpmpp_2m_sde",),
        ("k_dpmpp_2m_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "DPM++ 2M SDE Comfy"), ONE_CALL,
        spans=down.stochastic, own_flow=SDE, flow=EXPONENTIAL,
    ),
    SamplerRecord(
        "DPM++ 2M SDE Heun", ("sample_dpmpp_2m_sde", "sample_dpmpp_2m_sde_heun"),
        ("k_dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu"), ONE_CALL,
        spans=down.stochastic, flow=EXPONENTIAL,
    ),
    SamplerRecord(
        "DPM++ 3M SDE", ("sample_dpmpp_3m_sde",),
        ("k_dpmpp_3m_sde", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "DPM++ 3M SDE Comfy"), ONE_CALL,
        spans=down.stochastic, own_flow=SDE, flow=EXPONENTIAL,
    ),
    SamplerRecord(
        "IPNDM", ("sample_ipndm",), ("ipndm",), ONE_CALL, spans=down.straight, own_flow=down.straight, flow=IN_TIME
    ),
    SamplerRecord(
        "IPNDM_V", ("sample_ipndm_v",), ("ipndm_v",), ONE_CALL, spans=down.straight, own_flow=down.straight,
        flow=FlowRun("Karras", in_time=True, softened=False),
    ),
    SamplerRecord("DEIS", ("sample_deis",), ("deis",), ONE_CALL, spans=down.straight, own_flow=down.straight),
    SamplerRecord("DDPM", ("sample_ddpm",), ("ddpm",), ONE_CALL, spans=down.posterior, grade=EXACT),
    SamplerRecord(
        "LCM", ("sample_lcm",), ("k_lcm", "lcm"), ONE_CALL, spans=down.fresh, own_flow=down.fresh, grade=EXACT, own_grid=True,
        flow=OWN_PLACES,
    ),
    SamplerRecord(
        "DDIM", ("ddim",), ("ddim",), at.ddim_calls, spans=down.ddim, grade=EXACT, in_timesteps=True, flow=NORMAL
    ),
    SamplerRecord(
        "PLMS", ("plms",), ("plms",), at.plms_calls, 1, AFTER_LAST_CALL, spans=down.ddim, in_timesteps=True, flow=OWN_PLACES
    ),
    SamplerRecord(
        "UniPC", ("unipc",), ("unipc", "uni_pc", "uni_pc_bh2"), at.unipc_calls, 1, ONE_CALL_AHEAD,
        spans=down.unipc, in_timesteps=True, own_grid=True, flow=OWN_PLACES,
    ),
    SamplerRecord(
        "UniPC of noise levels", ("sample_unipc",), (), ONE_CALL, spans=down.straight, own_flow=down.straight,
        flow=OWN_PLACES,
    ),
    SamplerRecord(
        "Res Multistep", ("sample_res_multistep",), (), ONE_CALL, spans=down.straight, own_flow=down.straight
    ),
    SamplerRecord(
        "DDIM CFG++", ("ddim_cfgpp",), ("ddim_cfgpp",), at.ddim_calls, in_timesteps=True, cfg_unit=LAMBDA, flow=NORMAL
    ),
    SamplerRecord(
        "DDIM CFG++ (CFG/12.5)", ("ddim_cfgpp",), (), at.ddim_calls, in_timesteps=True, flow=NORMAL
    ),
    SamplerRecord(
        "Euler CFG++", ("sample_euler_cfgpp", "sample_euler_cfg_pp"), ("euler_cfg_pp",), ONE_CALL,
        cfg_unit=LAMBDA, flow=NORMAL,
    ),
    SamplerRecord(
        "Euler Ancestral CFG++", ("sample_euler_ancestral_cfgpp", "sample_euler_ancestral_cfg_pp"),
        ("Euler a CFG++", "euler_ancestral_cfg_pp"), ONE_CALL, cfg_unit=LAMBDA, options=ENSD,
    ),
    SamplerRecord(
        "DPM++ 2M CFG++", ("sample_dpmpp_2m_cfgpp", "sample_dpmpp_2m_cfg_pp"), ("dpmpp_2m_cfg_pp",), ONE_CALL,
        cfg_unit=LAMBDA,
    ),
    SamplerRecord(
        "DPM++ 2S Ancestral CFG++", ("sample_dpmpp_2s_ancestral_cfgpp", "sample_dpmpp_2s_ancestral_cfg_pp"),
        ("DPM++ 2S a CFG++", "dpmpp_2s_ancestral_cfg_pp"), at.one_step_each(down.ancestral, at.halfway_down), 2,
        cfg_unit=LAMBDA, options={**ENSD, **SECOND_ORDER},
    ),
    SamplerRecord(
        "DPM++ SDE CFG++", ("sample_dpmpp_sde_cfgpp", "sample_dpmpp_sde_cfg_pp"), ("dpmpp_sde_cfg_pp",), HALFWAY, 2,
        cfg_unit=LAMBDA, options={**BROWNIAN, **SECOND_ORDER},
    ),
    SamplerRecord(
        "DPM++ 2M SDE CFG++", ("sample_dpmpp_2m_sde_cfgpp", "sample_dpmpp_2m_sde_cfg_pp", "sample_dpmpp_2m_sde_gpu_cfg_pp"),
        ("k_dpmpp_2m_sde_cfgpp", "dpmpp_2m_sde_cfg_pp", "dpmpp_2m_sde_gpu_cfg_pp"), ONE_CALL,
        cfg_unit=LAMBDA, flow=EXPONENTIAL, options=BROWNIAN,
    ),
    SamplerRecord(
        "DPM++ 3M SDE CFG++", ("sample_dpmpp_3m_sde_cfgpp", "sample_dpmpp_3m_sde_cfg_pp"),
        ("dpmpp_3m_sde_cfg_pp", "dpmpp_3m_sde_gpu_cfg_pp"), ONE_CALL, cfg_unit=LAMBDA, options=BROWNIAN,
    ),
    SamplerRecord(
        "RES Multistep CFG++", ("sample_res_multistep_cfgpp", "sample_res_multistep_cfg_pp"),
        ("RES multistep CFG++", "res_multistep_cfg_pp"), ONE_CALL, cfg_unit=LAMBDA,
    ),
    SamplerRecord(
        "RES Multistep Ancestral CFG++", ("sample_res_multistep_ancestral_cfgpp", "sample_res_multistep_ancestral_cfg_pp"),
        ("RES Multistep a CFG++", "res_multistep_ancestral_cfg_pp"), ONE_CALL, cfg_unit=LAMBDA, options=ENSD,
    ),
    SamplerRecord(
        "Gradient Estimation CFG++", ("sample_gradient_estimation_cfgpp", "sample_gradient_estimation_cfg_pp"),
        ("gradient_estimation_cfg_pp",), ONE_CALL, cfg_unit=LAMBDA, flow=FlowRun("Normal"),
    ),
)  # fmt: skip
