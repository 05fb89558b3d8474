"""Guidance methods of other programs, and keys of SD.Next and Forge Neo, with the meaning of whoever wrote them."""

from __future__ import annotations

import re

from .levels import is_named_flow
from .source import Key, Said, Source
from .text import ForeignText, number_of
from .windows import has_hires_pass
from .writer import NEO, writer_of

SMALLEST_RESCALE = 0.05
"""Below it Forge Neo and Classic leave CFG rescale off."""
FREEU_VALUE = re.compile(r"\b(b1|b2|s1|s2)=([^\s,]+)")
FREEU_STAGES = {"b1": "stage1_backbone", "b2": "stage2_backbone", "s1": "stage1_skip", "s2": "stage2_skip"}


def _keys(prefix: str, names: str) -> tuple[Key, ...]:
    return tuple(Key(prefix + name) for name in names.split(","))


def _neo_rescale(text: ForeignText) -> Said | None:
    phi = text.value("Rescale CFG", 0.0)
    if 0 < phi < SMALLEST_RESCALE:
        text.name(["Rescale CFG"], f"below {SMALLEST_RESCALE:g} it had no effect there and was ignored")
    if phi < SMALLEST_RESCALE:
        return None
    if has_hires_pass(text.pairs) and writer_of(text.pairs).name == NEO:
        text.name(["Rescale CFG"], "Forge Neo did not apply it in the hires pass; here it acts in both passes")
    return {"phi": (phi, "Rescale CFG")}


def _mahiro(text: ForeignText) -> Said:
    if text.value("Rescale CFG", 0.0) >= SMALLEST_RESCALE:
        text.name(["MaHiRo"], "was applied after CFG rescale there; here it is applied before it")
    return {}


def _apg(text: ForeignText) -> Said:
    if text.value("APG Adaptive Momentum", 0.0):
        text.name(["APG Adaptive Momentum"], "fading momentum is not supported; it stays constant")
    return {}


def _sdnext_rescale(text: ForeignText) -> Said | None:
    if not text.value("CFG rescale", 0.0):
        return None
    text.name(["CFG rescale"], "SD.Next rescales the model's raw output, SDFM rescales velocities: similar, but not the same")
    return {"phi": (text.value("CFG rescale", 0.0), "CFG rescale")}


def _sdnext_freeu(text: ForeignText) -> Said | None:
    """Convert SD.Next's text of four factors: version 1 on the first half of the channels, as in diffusers."""
    said: Said = {"preset": ("Custom", "FreeU"), "version": ("1", "FreeU")}
    values = FREEU_VALUE.findall(str(text.pairs["FreeU"]))
    if not values:
        text.name(["FreeU"], "has an unknown form and was ignored")
        return None
    for name, value in values:
        number = number_of(value)
        if number is None:
            text.refuse("FreeU", "numbers, as in b1=1.2 b2=1.4 s1=0.9 s2=0.2")
        else:
            said[FREEU_STAGES[name]] = (number, "FreeU")
    return said


def _shift(text: ForeignText) -> Said | None:
    """Read Forge Neo's shift: of a flow model if the checkpoint's name says so, else it is only named."""
    if is_named_flow(text):
        return {"shift": (text.value("Shift", 3.0), "Shift")}
    text.name(
        ["Shift"],
        "the picture may have been made with a flow model, but its parameters don't say so: if this checkpoint is one, "
        "turn on flow matching with this shift",
    )
    return None


ANOTHER_APG = "was ignored: it projects in a different space from the paper's APG, so its values mean nothing here"
ANOTHER_CFG_ZERO = "was ignored: it applies the paper's factor to another quantity than the paper does"
GUIDANCE = (
    Source("MaHiRo", "MaHiRo", "mahiro", (), _mahiro),
    Source("mahiro_cfg_enabled", "MaHiRo", "mahiro"),
    Source(
        "apgisyourcfg_enabled", "reForge's adaptive projected guidance (APG)", None,
        _keys("apgisyourcfg_", "momentum,adaptive_momentum,norm_thr,eta,scale"), replaces_cfg=1, why_not=ANOTHER_APG,
    ),
    Source(
        "APG Active", "incantations' adaptive projected guidance (APG)", None,
        _keys("APG ", "Momentum,Norm Threshold,Start Step,End Step"),
        why_not="was ignored: it projects onto the unconditional prediction, and one of its values is not written down",
    ),
    Source(
        "Integrated Guidance Enabled", "integrated guidance of an extension for Forge Classic", None,
        _keys("APG ", "Eta,Norm Threshold,Beta"),
    ),
    Source(
        "APG Eta", "adaptive projected guidance (APG)", "apg",
        (
            Key("APG Eta", 0.0, "eta"), Key("APG Norm Threshold", 15.0, "norm_threshold"),
            Key("APG Momentum", 0.0, "momentum"), Key("APG Adaptive Momentum"),
        ), _apg, by_presence=True, unless="Integrated Guidance Enabled",
    ),
    Source("APG", "SD.Next's adaptive projected guidance (APG)", None, by_presence=True, why_not=ANOTHER_APG),
    Source("CFGZero", "SD.Next's CFG-Zero* (its values are not written down)", None, by_presence=True),
    Source(
        "cfgzero", "CFG-Zero* of an extension for Forge", None, (Key("cfgzero_zero_init_steps"),), by_presence=True,
        why_not=ANOTHER_CFG_ZERO,
    ),
    Source("tcfg", "tangential damping CFG (TCFG)", None, by_presence=True),
    Source(
        "eps_scaling_factor", "epsilon scaling", "epsilon_scaling", (Key("eps_scaling_factor", 1.005, "factor"),),
        by_presence=True,
    ),
    Source(
        "NAG Scale", "guidance on self-attention that is also called NAG", None, (Key("NAG Alpha"), Key("NAG Tau")),
        by_presence=True, why_not="was ignored: it is a different method from NAG, and not supported",
    ),
    Source("ICG Active", "ICG of a branch of incantations"),
    Source("TCG Active", "TCG of a branch of incantations", None, _keys("TCG ", "Scale,Alpha,Std Scale,Max Layer Index")),
    Source("PAG Autoguidance", "autoguidance of a branch of incantations", None, (Key("PAG Lerp Factor"),)),
    Source(
        "Rescale CFG", "CFG rescale of Forge Neo and Classic", "cfg_rescale", (), _neo_rescale, by_presence=True, off_at_0=True,
        replaces_cfg=2,
    ),
    Source("CFG rescale", "SD.Next's CFG rescale", "cfg_rescale", (), _sdnext_rescale, by_presence=True, off_at_0=True),
    Source("FreeU", "SD.Next's FreeU", "freeu", (), _sdnext_freeu, by_presence=True),
    Source("CFG true", "SD.Next's PAG or true CFG (not told apart)", None, (Key("CFG adaptive"),), by_presence=True),
    Source("CFG end", "SD.Next's end of CFG", None, by_presence=True),
    Source("Shift", "Forge Neo's shift", "flow", (Key("Hires Shift"),), _shift, by_presence=True),
)  # fmt: skip
"""Sources, by priority if two of them become the same technique."""
