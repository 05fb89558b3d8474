"""Script titles of other WebUIs and extensions, whose arguments are read as the keys that they write into pictures.

They are offered where the host has no script of that title; what has no counterpart here is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .originals import OLD_ENTRIES, OldEntry, is_missing

SIMPLE_MODE = "dynthres_simple_mode"
"""reForge's second argument of dynamic thresholding, which Forge lacks."""
OF_PAMPARAMM = (
    "{0}_enabled|{0}_scale|{0}_rescale|{0}_rescale_mode|{0}_{1}|{0}_block|{0}_block_id|{0}_block_list|{0}_hr_override|{0}_hr_cfg|"
    "{0}_hr_scale|{0}_hr_rescale|{0}_hr_rescale_mode|{0}_hr_{1}|{0}_sigma_start|{0}_sigma_end"
)
OF_NAG = (
    "nag_enabled|nag_negative|nag_scale|nag_tau|nag_alpha|nag_hr_mode|nag_hr_override|nag_hr_scale|nag_hr_tau|nag_hr_alpha|"
    "nag_sigma_start|nag_sigma_end|nag_block_list"
)
OF_THRESHOLDING = (
    "dynthres_enabled|dynthres_mimic_scale|dynthres_threshold_percentile|dynthres_mimic_mode|dynthres_mimic_scale_min|"
    "dynthres_cfg_mode|dynthres_cfg_scale_min|dynthres_sched_val|dynthres_separate_feature_channels|"
    "dynthres_scaling_startpoint|dynthres_variability_measure|dynthres_interpolate_phi"
)
TITLES = {
    "Perturbed-Attention Guidance": OF_PAMPARAMM.format("pag", "adaptive_scale"),
    "Smoothed Energy Guidance": OF_PAMPARAMM.format("seg", "blur_sigma"),
    "Normalized Attention Guidance": OF_NAG,
    "FreeU Integrated (SD 1.x, SD 2.x, SDXL)": "freeu_enabled|freeu_b1|freeu_b2|freeu_s1|freeu_s2|freeu_start|freeu_end",
    "FreeU Integrated": "freeu_enabled|freeu_b1|freeu_b2|freeu_s1|freeu_s2",
    "PerturbedAttentionGuidance Integrated": "pagi_enabled|pagi_scale|pagi_attenuation|pagi_start_step|pagi_end_step",
    "RescaleCFG for reForge": "rescale_cfg_enabled|rescale_cfg_version|rescale_cfg_multiplier",
    "Mahiro CFG for reForge": "mahiro_cfg_enabled",
    "MaHiRo": "MaHiRo",
    "RescaleCFG": "Rescale CFG",
}
"""Titles with the keys of their arguments, in order; the first is the switch."""


def _pairs_by(keys: Sequence[str]) -> Callable[[Sequence[Any]], dict[str, Any]]:
    def pairs(args: Sequence[Any]) -> dict[str, Any]:
        given = {key: arg for key, arg in zip(keys, args) if not is_missing(arg)}
        return given if given.get(keys[0]) not in (None, False, 0) else {}

    return pairs


def _thresholding_pairs(args: Sequence[Any]) -> dict[str, Any]:
    """Return the keys of Forge's arguments, or of reForge's, which have a switch more."""
    keys = OF_THRESHOLDING.split("|")
    is_reforge = len(args) > 1 and isinstance(args[1], bool)
    return _pairs_by([keys[0], SIMPLE_MODE, *keys[1:]] if is_reforge else keys)(args)


APG_KEYS = "enabled|momentum|adaptive_momentum|norm_thr|eta"
LIMITER_KEYS = "guidance_limiter_enabled|guidance_sigma_start|guidance_sigma_end"


def _apg_and_limiter_pairs(args: Sequence[Any]) -> dict[str, Any]:
    """Return the keys of reForge's script with two switches."""
    apg = [f"apgisyourcfg_{name}" for name in APG_KEYS.split("|")]
    return {**_pairs_by(apg)(args[: len(apg)]), **_pairs_by(LIMITER_KEYS.split("|"))(args[len(apg) :])}


OTHER_ENTRIES = (
    *(OldEntry(title, len(keys.split("|")), _pairs_by(keys.split("|"))) for title, keys in TITLES.items()),
    OldEntry("DynamicThresholding (CFG-Fix) Integrated", len(OF_THRESHOLDING.split("|")) + 1, _thresholding_pairs),
    OldEntry('"APG\'s now your CFG" and Guidance Limiter for reForge', 8, _apg_and_limiter_pairs),
    OldEntry(
        "APG (Adaptive Projected Guidance)", 4,
        lambda args: {
            key: value
            for key, value in zip(("APG Eta", "APG Norm Threshold", "APG Momentum"), args[1:])
            if args[0] is True and not is_missing(value)
        },
    ),
)  # fmt: skip
ALL_ENTRIES = (*OLD_ENTRIES, *OTHER_ENTRIES)
