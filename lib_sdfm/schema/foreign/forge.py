"""Built-in features of Forge and reForge, and their counterparts here."""

from __future__ import annotations

from ...sampling.model_call import TO_THE_END
from ...sampling.sampler_names import resolve_sampler
from .levels import noise_level
from .source import Key, Said, Source
from .text import ForeignText, number_of
from .windows import Window, covered, first_pass_steps, hires_steps

REFORGE = "dynthres_simple_mode"
"""Key written by reForge and not by Forge."""


def _windows(text: ForeignText, start_key: str, end_key: str) -> tuple[Window | None, Window | None] | None:
    """Return the windows of both passes; ``None`` if they contain all steps or the number of steps is unknown."""
    start, end = text.value(start_key, 0.0), text.value(end_key, 1.0)
    if start <= 0 and end >= 1:
        return None
    total, hires_total = first_pass_steps(text.pairs), hires_steps(text.pairs)
    if total is None:
        text.name(
            (start_key, end_key), "can't be converted to steps, because the number of steps is missing: it acts on all steps"
        )
        return None
    sampler = str(text.pairs.get("Sampler", ""))
    known = resolve_sampler(sampler).sampler
    if known is not None and known.calls_per_step > 1:  # Forge's windows may take one call of a step
        text.name((start_key, end_key), f"may begin or end in the middle of a step with {sampler}; here it covers whole steps")
    return covered(start, end, total), None if hires_total is None else covered(start, end, hires_total)


def _pag(text: ForeignText) -> Said | None:
    if text.value("pagi_attenuation", 0.0):
        text.name(["pagi_attenuation"], "fading out with every model call is not supported; the scale stays constant")
    start_key, end_key = "pagi_start_step", "pagi_end_step"
    windows = _windows(text, start_key, end_key)
    if windows is None:
        return {}
    base, hires = windows
    if base is None:
        text.name((start_key, end_key), "covers no step of the first pass; PAG was ignored")
        return None
    if TO_THE_END <= base.last < base.total - 1:
        text.name([end_key], f"ends after step {TO_THE_END}, which SDFM reads as the last step")
    said: Said = {"start_step": (base.first, start_key), "end_step": (base.end_step, end_key)}
    if hires is not None and (hires.first, hires.end_step) != (base.first, base.end_step):
        said["hires_start_step"] = (hires.first, start_key)
        said["hires_end_step"] = (hires.end_step, end_key)
    elif hires is None and hires_steps(text.pairs) is not None:
        said["hires_scale"] = (0.0, end_key)
    return said


def _freeu(text: ForeignText) -> Said | None:
    """Convert to our FreeU: version 2 on the first half of the channels and the lowest frequencies, in two stages."""
    start_key, end_key = "freeu_start", "freeu_end"
    said: Said = {"preset": ("Custom", "freeu_b1"), "version": ("2", "freeu_b1")}
    windows = _windows(text, start_key, end_key)
    if windows is None:
        return said
    base, hires = windows
    if base is None:
        text.name((start_key, end_key), "covers no step of the first pass; FreeU was ignored")
        return None
    said |= _schedule("", base)
    if hires_steps(text.pairs) is None or hires == base:
        return said
    if hires is None:
        return said | {f"hires_stage{stage}_{name}": (1.0, end_key) for stage in (1, 2) for name in ("backbone", "skip")}
    return said | _schedule("hires_", hires)


def _schedule(prefix: str, window: Window) -> Said:
    """Return FreeU's schedule in steps; it ends before its stop."""
    start: Said = {f"{prefix}start": (float(window.first), "freeu_start"), f"{prefix}start_in_steps": (True, "freeu_start")}
    to_the_end = window.last == window.total - 1
    stop = 1.0 if to_the_end else window.last + 1.0
    return {**start, f"{prefix}stop": (stop, "freeu_end"), f"{prefix}stop_in_steps": (not to_the_end, "freeu_end")}


def _percentile(share: float) -> float:
    return round(share * 100, 6)


def _separate(word: str) -> bool | str:
    return {"enable": True, "disable": False}.get(word, word)


def _thresholding(text: ForeignText) -> Said | None:
    if text.is_on(REFORGE):
        simple = {"separate_channels": False, "startpoint": "MEAN", "measure": "AD", "phi": 1.0}
        modes = {"mimic_mode": "Constant", "cfg_mode": "Constant"}
        return {setting: (value, REFORGE) for setting, value in {**simple, **modes}.items()}
    modes = [key for key in ("dynthres_mimic_mode", "dynthres_cfg_mode") if text.value(key, "Constant") != "Constant"]
    if REFORGE in text.pairs and _mimics_itself(text) and (modes or _sharpens(text)):
        text.name(["dynthres_mimic_scale"], "reForge does nothing where this equals the CFG scale; it was ignored")
        return None
    if modes:
        text.name(modes, "follows the model's time in reForge; here it follows the sampler's steps")
    return {}


def _mimics_itself(text: ForeignText) -> bool:
    """Return True if the two scales are equal: there reForge returns plain CFG, elsewhere the formula gives it."""
    return text.value("dynthres_mimic_scale", 7.0) == number_of(text.pairs.get("CFG scale"))


def _sharpens(text: ForeignText) -> bool:
    """Return True if the formula would not give plain CFG at equal scales."""
    words = text.value("dynthres_scaling_startpoint", "MEAN"), text.value("dynthres_variability_measure", "AD")
    return words == ("ZERO", "AD") and text.value("dynthres_threshold_percentile", 1.0) < 1


def _limiter(text: ForeignText) -> Said:
    ends = text.value("guidance_sigma_end", 0.28), text.value("guidance_sigma_start", 5.42)
    low, high = (noise_level(text, end) for end in ends)
    if high > 100:
        text.name(["guidance_sigma_start"], "has no upper limit here")
    return {
        "schedule": ("Constant", "guidance_limiter_enabled"),
        "low": (max(low, 0.0), "guidance_sigma_end"),
        "high": (100.0 if high < 0 else min(high, 100.0), "guidance_sigma_start"),
    }


THRESHOLDING_KEYS = (
    Key("dynthres_mimic_scale", 7.0, "mimic_scale"),
    Key("dynthres_threshold_percentile", 1.0, "percentile", _percentile),
    Key("dynthres_mimic_mode", "Constant", "mimic_mode"),
    Key("dynthres_mimic_scale_min", 0.0, "mimic_minimum"),
    Key("dynthres_cfg_mode", "Constant", "cfg_mode"),
    Key("dynthres_cfg_scale_min", 0.0, "cfg_minimum"),
    Key("dynthres_sched_val", 1.0, "value"),
    Key("dynthres_separate_feature_channels", "enable", "separate_channels", _separate),
    Key("dynthres_scaling_startpoint", "MEAN", "startpoint"),
    Key("dynthres_variability_measure", "AD", "measure"),
    Key("dynthres_interpolate_phi", 1.0, "phi"),
    Key(REFORGE, False),
)
FORGE = (
    Source(
        "pagi_enabled", "Forge's PAG", "pag",
        (Key("pagi_scale", 3.0, "scale"), Key("pagi_attenuation"), Key("pagi_start_step"), Key("pagi_end_step")), _pag,
    ),
    Source(
        "PerturbedAttentionGuidance_enabled", "Forge's PAG", "pag",
        (Key("PerturbedAttentionGuidance_scale", 3.0, "scale"),),
    ),
    Source(
        "freeu_enabled", "Forge's FreeU", "freeu",
        (
            Key("freeu_b1", 1.01, "stage1_backbone"), Key("freeu_b2", 1.02, "stage2_backbone"),
            Key("freeu_s1", 0.99, "stage1_skip"), Key("freeu_s2", 0.95, "stage2_skip"), Key("freeu_start"), Key("freeu_end"),
        ), _freeu,
    ),
    Source(
        "dynthres_enabled", "Forge's dynamic thresholding", "dynamic_thresholding", THRESHOLDING_KEYS, _thresholding,
        replaces_cfg=3,
    ),
    Source(
        "guidance_limiter_enabled", "reForge's guidance limiter", "cfg_schedule",
        (Key("guidance_sigma_start"), Key("guidance_sigma_end")), _limiter, replaces_cfg=1,
    ),
)  # fmt: skip
"""Sources, by priority if two of them become the same technique."""
