"""Features of Forge, reForge and pamparamm's extension that SDFM lacks, or supports in part."""

from __future__ import annotations

from .model_kind import is_discrete
from .source import Key, Said, Source
from .text import ForeignText

NEUTRAL_MODIFIERS = {
    "sharpness_multiplier": 0.0, "tonemap_multiplier": 0.0, "contrast_multiplier": 0.0, "combat_cfg_drift": 0.0,
    "extra_noise_multiplier": 0.0, "divisive_norm_multiplier": 0.0, "spectral_mod_multiplier": 0.0,
    "dyn_cfg_augmentation": "None",
}  # fmt: skip
"""Strengths of the latent modifier's parts, and the value at which each has no effect."""
MODIFIER_DETAILS = (
    "sharpness_method", "tonemap_method", "tonemap_percentile", "combat_method", "extra_noise_type", "extra_noise_method",
    "extra_noise_lowpass", "divisive_norm_size", "spectral_mod_mode", "spectral_mod_percentile", "affect_uncond",
)  # fmt: skip
MODIFIER_PARTS = ("sharpness", "tone", "noise", "advanced", "dynamic")
"""reForge's switches of the latent modifier."""
PERTURBED = ("pag_enabled", "seg_enabled", "pagi_enabled", "PerturbedAttentionGuidance_enabled")


def _keys(prefix: str, names: str) -> tuple[Key, ...]:
    return tuple(Key(prefix + name) for name in names.split())


def _name_order(text: ForeignText, key: str) -> None:
    if any(text.is_on(switch) for switch in PERTURBED):
        text.name([key], "was applied before PAG and SEG there; here it is applied after them")


def _rescale(text: ForeignText) -> Said | None:
    version = text.value("rescale_cfg_version", "Normal")
    if version != "Normal":
        text.name(["rescale_cfg_version"], "this version of CFG rescale is not supported and was ignored")
        return None
    _name_order(text, "rescale_cfg_multiplier")
    return {}


def _modifier(text: ForeignText) -> Said | None:
    neutral = {f"latent_modifier_{name}": value for name, value in NEUTRAL_MODIFIERS.items()}
    acting = [key for key, value in neutral.items() if text.value(key, value) != value]
    if acting:
        text.name(acting, "the latent modifier is not supported and was ignored")
    phi_key = "latent_modifier_rescale_cfg_phi"
    phi = text.value(phi_key, 0.0)
    if not phi:
        return None
    _name_order(text, phi_key)
    return {"phi": (phi, phi_key)}


def _flow(text: ForeignText) -> Said | None:
    mode = text.value("advanced_sampling_mode", "Discrete")
    if is_discrete(text):
        return None
    if mode != "SD3":
        text.name(["advanced_sampling_mode"], "this kind of model is not supported and was ignored")
        return None
    return {}


OTHERS = (
    Source(
        "rescale_cfg_enabled", "reForge's CFG rescale", "cfg_rescale",
        (Key("rescale_cfg_multiplier", 0.7, "phi"), Key("rescale_cfg_version")), _rescale, replaces_cfg=2,
    ),
    Source(
        "latent_modifier_enabled", "the latent modifier", "cfg_rescale",
        tuple(
            Key(f"latent_modifier_{name}") for name in ("rescale_cfg_phi", *NEUTRAL_MODIFIERS, *MODIFIER_DETAILS)
        ), _modifier, replaces_cfg=4, parts=tuple(f"latent_modifier_{name}_enabled" for name in MODIFIER_PARTS),
    ),
    Source("sag_enabled", "self-attention guidance (SAG)", None, _keys("sag_", "scale blur_sigma threshold")),
    Source(
        "swg_enabled", "sliding window guidance", None,
        _keys("swg_", "scale tile_width tile_height tile_overlap hr_override hr_cfg hr_scale sigma_start sigma_end"),
    ),
    Source(
        "advanced_sampling_enabled", "reForge's model sampling", "flow",
        (
            Key("advanced_sampling_mode"), Key("sd3_shift", 3.0, "shift"), *_keys(
                "", "discrete_sampling discrete_zsnr continuous_edm_sampling continuous_edm_sigma_max "
                "continuous_edm_sigma_min continuous_v_sigma_max continuous_v_sigma_min stable_cascade_shift "
                "aura_flow_shift flux_max_shift flux_base_shift flux_width flux_height",
            ),
        ), _flow,
    ),
    Source(
        "kohya_hrfix_enabled", "Kohya's hires fix", None,
        _keys(
            "kohya_hrfix_", "downscale_factor block_number start_percent end_percent downscale_after_skip "
            "downscale_method upscale_method",
        ),
    ),
    Source("stylealign_enabled", "StyleAlign", None, _keys("stylealign_", "strength")),
    Source(
        "multidiffusion_enabled", "MultiDiffusion", None,
        _keys("multidiffusion_", "method tile_width tile_height tile_overlap tile_batch_size shift_method"),
    ),
    Source("HyperTile_enabled", "Forge's HyperTile", None, _keys("HyperTile_", "tile_size swap_size max_depth scale_depth")),
)  # fmt: skip
