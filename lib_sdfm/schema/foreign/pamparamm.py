"""pamparamm's extension for Forge and reForge (sd-perturbed-attention): PAG, SEG, NAG and TPG."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..window import NO_UPPER_END
from .levels import noise_level
from .source import Key, Said, Source
from .text import ForeignText, number_of

FUSION, FULL, PARTIAL = "snf", "full", "partial"
MODES, BLOCKS = (FULL, PARTIAL, FUSION), ("input", "middle", "output")
HIRES_CFG = "Hires CFG Scale"
SETTING_CFG = ("pag", "seg", "swg")
"""The scripts that set it, in the order in which they run: the last one counts."""
INFINITE_BLUR, LARGEST_BLUR = 11.0, 2.0**10.5


def _layers(text: ForeignText, name: str) -> Said | None:
    """Read the blocks: a list in a subset of our syntax, or one block; ``None`` if it has no effect."""
    list_key, block_key, id_key = f"{name}_block_list", f"{name}_block", f"{name}_block_id"
    listed = text.value(list_key, "")
    if listed:
        return {"layers": (listed, list_key)}
    block, number = text.value(block_key, "middle"), text.value(id_key, 0.0)
    if block == "middle" and number:
        text.name((block_key, id_key), f"is no block: {name.upper()} had no effect there and was ignored")
        return None
    if block not in BLOCKS:
        text.refuse(block_key, "one of " + ", ".join(BLOCKS))
    elif number < 0 or not number.is_integer():
        text.refuse(id_key, "a whole number of at least 0")
    else:
        return {"layers": (block if block == "middle" else f"{block}.{int(number)}", block_key)}
    return {}


def _mode(text: ForeignText, key: str) -> str:
    mode = text.value(key, FULL)
    if mode not in MODES:
        text.refuse(key, "one of " + ", ".join(MODES))
    return mode


def _sigmas(text: ForeignText, name: str) -> Said:
    """Return the window of noise levels, ``end < sigma <= start``; a negative end is none."""
    start_key, end_key = f"{name}_sigma_start", f"{name}_sigma_end"
    first, last = (noise_level(text, text.value(key, -1.0)) for key in (start_key, end_key))
    return {
        "sigma_from": (NO_UPPER_END if first < 0 else min(first, NO_UPPER_END), start_key),
        "sigma_to": (min(max(last, 0.0), NO_UPPER_END), end_key),
    }


def _pag(text: ForeignText) -> Said | None:
    said = _layers(text, "pag")
    if said is None:
        return None
    said |= _sigmas(text, "pag")
    mode, override = _mode(text, "pag_rescale_mode"), text.is_on("pag_hr_override")
    hires_mode = _mode(text, "pag_hr_rescale_mode") if override else mode
    said |= {"sanf": (mode == FUSION, "pag_rescale_mode"), "rescale": _pag_rescale(text, "pag_", mode)}
    if override:
        said |= {
            "hires_scale": (text.value("pag_hr_scale", 3.0), "pag_hr_scale"),
            "hires_rescale": _pag_rescale(text, "pag_hr_", hires_mode),
            "hires_adaptive": (text.value("pag_hr_adaptive_scale", 0.0), "pag_hr_adaptive_scale"),
        }
    if (mode == FUSION) != (hires_mode == FUSION):
        text.name(
            ("pag_rescale_mode", "pag_hr_rescale_mode"),
            "fusion is the same in both passes here: as in the first",
        )
    return said


def _pag_rescale(text: ForeignText, prefix: str, mode: str) -> tuple[float, str]:
    key = f"{prefix}rescale"
    rescale = text.value(key, 0.0)
    if mode == PARTIAL and rescale:
        text.name((f"{prefix}rescale_mode", key), "rescaling without CFG is not supported; read as mode full")
    return 0.0 if mode == FUSION else rescale, key


def _seg(text: ForeignText) -> Said | None:
    said = _layers(text, "seg")
    if said is None:
        return None
    said |= _sigmas(text, "seg")
    override = text.is_on("seg_hr_override")
    said |= {"blur": _blur(text, "seg_blur_sigma")}
    if override:
        said |= {
            "hires_scale": (text.value("seg_hr_scale", 3.0), "seg_hr_scale"),
            "hires_blur": _blur(text, "seg_hr_blur_sigma"),
        }
    for prefix in ("seg_", "seg_hr_") if override else ("seg_",):
        mode_key, key = f"{prefix}rescale_mode", f"{prefix}rescale"
        if _mode(text, mode_key) == FUSION or text.value(key, 0.0):
            text.name((mode_key, key), "rescaling and fusion of SEG are not supported and were ignored")
    return said


def _blur(text: ForeignText, key: str) -> tuple[float, str]:
    """Return the exponent of 2 for a sigma in tokens; negative means infinite."""
    sigma = text.value(key, -1.0)
    if sigma < 0:
        return INFINITE_BLUR, key
    if sigma < 1:
        text.name([key], "a blur below one token is not supported; read as 1")
    elif sigma > LARGEST_BLUR:
        text.name([key], "counts as infinite here")
    return math.log2(max(sigma, 1.0)), key


BOTH, FIRST, HIRES = "Both", "HRFix Off", "HRFix Only"


def _nag(text: ForeignText) -> Said:
    mode, override = text.value("nag_hr_mode", BOTH), text.is_on("nag_hr_override")
    if mode not in (BOTH, FIRST, HIRES):
        text.refuse("nag_hr_mode", f"one of {BOTH}, {FIRST}, {HIRES}")
    if text.value("nag_block_list", ""):
        text.name(["nag_block_list"], "was ignored: NAG acts on all blocks here")
    scale = text.value("nag_scale", 6.0)
    said: Said = {"scale": (0.0 if mode == HIRES else scale, "nag_scale")}
    if mode != BOTH:
        said["hires_scale"] = 0.0 if mode == FIRST else scale, "nag_hr_mode"
    if override and mode != FIRST:
        said |= {
            "hires_scale": (text.value("nag_hr_scale", 6.0), "nag_hr_scale"),
            "hires_tau": (text.value("nag_hr_tau", 2.5), "nag_hr_tau"),
            "hires_alpha": (text.value("nag_hr_alpha", 0.5), "nag_hr_alpha"),
        }
    return said | _sigmas(text, "nag")


def _tpg(text: ForeignText) -> Said:
    text.name(["tpg_enabled"], "the blocks are not given; those of the paper are used")
    mode, rescale = _mode(text, "tpg_rescale_mode"), text.value("tpg_rescale", 0.0)
    if mode == FUSION:
        text.name(["tpg_rescale_mode"], "fusion of TPG is not supported and was ignored")
    elif mode == PARTIAL and rescale:
        text.name(("tpg_rescale_mode", "tpg_rescale"), "rescaling without CFG is not supported; read as mode full")
    said: Said = {"rescale": (0.0 if mode == FUSION else rescale, "tpg_rescale"), **_sigmas(text, "tpg")}
    if text.is_on("tpg_hr_override"):
        said["hires_scale"] = text.value("tpg_hr_scale", 3.0), "tpg_hr_scale"
    return said


TPG_KEYS = (
    Key("tpg_scale", 3.0, "scale"),
    *(Key(f"tpg_{name}") for name in ("rescale", "rescale_mode", "sigma_start", "sigma_end", "hr_override", "hr_scale")),
)


NAG_KEYS = (
    Key("nag_scale"),
    Key("nag_tau", 2.5, "tau"),
    Key("nag_alpha", 0.5, "alpha"),
    Key("nag_negative", "", "negative"),
    *(Key(f"nag_{name}") for name in ("hr_mode", "hr_override", "hr_scale", "hr_tau", "hr_alpha")),
    *(Key(f"nag_{name}") for name in ("sigma_start", "sigma_end", "block_list")),
)


@dataclass(frozen=True)
class HiresCfg(Source):
    """The CFG scale of the hires pass, which each of the extension's scripts sets where its override is on."""

    def is_present(self, text: ForeignText) -> bool:
        return super().is_present(text) and any(f"{name}_enabled" in text.pairs for name in SETTING_CFG)

    def is_on(self, text: ForeignText) -> bool:
        return _hires_cfg(text) is not None

    @property
    def shown(self) -> tuple[str, ...]:
        return tuple(key.key for key in self.keys)


def _hires_cfg(text: ForeignText) -> tuple[float, str] | None:
    """Return the scale that counts and its key; ``None`` if it is that of the first pass, or the host's own field has it."""
    overrides = [name for name in SETTING_CFG if text.is_on(f"{name}_enabled") and text.is_on(f"{name}_hr_override")]
    keys = [key for name in overrides if (key := f"{name}_hr_cfg") in text.pairs]
    if not keys or HIRES_CFG in text.pairs:
        return None
    scale = text.value(keys[-1], 7.0)
    return None if scale == number_of(text.pairs.get("CFG scale")) else (scale, keys[-1])


def _hires_cfg_said(text: ForeignText) -> Said | None:
    scale, key = _hires_cfg(text) or (0.0, "")
    if scale > 0:
        return {"scale": (scale, key)}
    text.refuse(key, "a number above 0")
    return None


def _keys(name: str, *more: Key) -> tuple[Key, ...]:
    """Return PAG's or SEG's keys; those without a setting are read by the functions above."""
    own = ("rescale", "rescale_mode", "block", "block_id", "block_list", "sigma_start", "sigma_end")
    hires = ("override", "cfg", "scale", "rescale", "rescale_mode", "adaptive_scale" if name == "pag" else "blur_sigma")
    rest = (*(f"{name}_{key}" for key in own), *(f"{name}_hr_{key}" for key in hires))
    return (Key(f"{name}_scale", 3.0, "scale"), *more, *map(Key, rest))


PAMPARAMM = (
    HiresCfg(
        "pag_hr_override", "the CFG scale of the hires pass", "hires_cfg",
        tuple(Key(f"{name}_hr_cfg") for name in SETTING_CFG), _hires_cfg_said, parts=("seg_hr_override", "swg_hr_override"),
        why_not="is this WebUI's own field (hr_cfg): set that instead",
    ),
    Source(
        "pag_enabled", "pamparamm's PAG", "pag", _keys("pag", Key("pag_adaptive_scale", 0.0, "adaptive")), _pag,
    ),
    Source("seg_enabled", "pamparamm's SEG", "seg", _keys("seg", Key("seg_blur_sigma")), _seg),
    Source("nag_enabled", "pamparamm's normalized attention guidance (NAG)", "nag", NAG_KEYS, _nag),
    Source("tpg_enabled", "pamparamm's token perturbation guidance (TPG)", "tpg", TPG_KEYS, _tpg),
)  # fmt: skip
