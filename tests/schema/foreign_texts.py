"""Generation parameters as Forge, reForge and pamparamm's extension print them."""

HEAD = "Steps: {steps}, Sampler: {sampler}, Schedule type: Automatic, CFG scale: {cfg}, Seed: 1, Size: 1024x1024, Model: m, "


def text(keys: str, steps: int = 20, sampler: str = "Euler", cfg: float = 7, version: str = "f2.0.1v1.10.1-1.10.1") -> str:
    """A whole text around the keys of extensions."""
    return f"a cat\n{HEAD.format(steps=steps, sampler=sampler, cfg=cfg)}{keys}, Version: {version}"


FORGE_FREEU = (
    "freeu_enabled: True, freeu_b1: 1.3, freeu_b2: 1.4, freeu_s1: 0.9, freeu_s2: 0.2, freeu_start: 0.0, freeu_end: 1.0"
)
FORGE_PAG = "pagi_enabled: True, pagi_scale: 2.5, pagi_attenuation: 0.0, pagi_start_step: 0.0, pagi_end_step: 1.0"
OLD_FORGE_PAG = "PerturbedAttentionGuidance_enabled: True, PerturbedAttentionGuidance_scale: 4.0"
FORGE_THRESHOLDING = (
    "dynthres_enabled: True, dynthres_mimic_scale: 5, dynthres_threshold_percentile: 0.95, dynthres_mimic_mode: Constant, "
    "dynthres_mimic_scale_min: 0, dynthres_cfg_mode: Constant, dynthres_cfg_scale_min: 0, dynthres_sched_val: 1, "
    "dynthres_separate_feature_channels: disable, dynthres_scaling_startpoint: ZERO, dynthres_variability_measure: STD, "
    "dynthres_interpolate_phi: 0.3"
)
FORGE_SAG = "sag_enabled: True, sag_scale: 0.5, sag_blur_sigma: 2.0, sag_threshold: 1.0"
PAMPARAMM_PAG = (
    "pag_enabled: True, pag_scale: 3, pag_rescale: 0.2, pag_rescale_mode: full, pag_adaptive_scale: 0.1, pag_block: middle, "
    "pag_block_id: 0"
)
PAMPARAMM_SEG = (
    "seg_enabled: True, seg_scale: 4, seg_rescale: 0, seg_rescale_mode: full, seg_blur_sigma: -1, seg_block: output, "
    'seg_block_id: 3, seg_block_list: "d2.2-9,m0"'
)
REFORGE_SIMPLE = (
    "dynthres_enabled: True, dynthres_simple_mode: True, dynthres_mimic_scale: 6, dynthres_threshold_percentile: 0.9"
)
REFORGE_LIMITER = "guidance_limiter_enabled: True, guidance_sigma_start: 5.42, guidance_sigma_end: 0.28"
REFORGE_RESCALE = "rescale_cfg_enabled: True, rescale_cfg_version: Normal, rescale_cfg_multiplier: 0.7"
REFORGE_FLOW = "advanced_sampling_enabled: True, advanced_sampling_mode: SD3, sd3_shift: 3"
REFORGE_PICTURE = text(
    "Denoising strength: 0.7, Hires CFG Scale: 4, Hires upscale: 1.5, Hires upscaler: Latent, "
    f"{REFORGE_FLOW}, dynthres_enabled: True, dynthres_simple_mode: False, dynthres_mimic_scale: 4, "
    "dynthres_threshold_percentile: 1, dynthres_mimic_mode: Constant, dynthres_mimic_scale_min: 0, "
    "dynthres_cfg_mode: Constant, dynthres_cfg_scale_min: 0, dynthres_sched_val: 1, "
    "dynthres_separate_feature_channels: enable, dynthres_scaling_startpoint: MEAN, dynthres_variability_measure: AD, "
    "dynthres_interpolate_phi: 0.3, sag_enabled: True, sag_scale: 0.5, sag_blur_sigma: 2",
    steps=64, cfg=4, version="f1.0.0v2-v1.10.1RC-latest-2502-g630cf49b",
)  # fmt: skip
"""A published one by the author of the texts in ``published.py``, made with a flow-matching model."""
ALL = {
    "Forge's FreeU": FORGE_FREEU, "Forge's PAG": FORGE_PAG, "Forge's PAG of 2024": OLD_FORGE_PAG,
    "Forge's thresholding": FORGE_THRESHOLDING, "Forge's SAG": FORGE_SAG, "PAG": PAMPARAMM_PAG, "SEG": PAMPARAMM_SEG,
    "simple thresholding": REFORGE_SIMPLE, "limiter": REFORGE_LIMITER, "rescale": REFORGE_RESCALE, "flow": REFORGE_FLOW,
}  # fmt: skip
