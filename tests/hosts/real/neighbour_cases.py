"""Other extensions with arguments with which they act, for the tests beside them in a real WebUI."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

SMALL = {"sampler_name": "Euler", "scheduler": "Automatic", "steps": 2, "width": 128, "height": 128, "cfg_scale": 6}
NEUTRAL = {
    "PAG": {"pag": {"scale": 1e-6}},
    "PAG and SEG": {"pag": {"scale": 1e-6}, "seg": {"scale": 1e-6}},
    "TPG": {"tpg": {"scale": 1e-6, "layers": "middle"}},
    "FreeU": {"freeu": {f"stage{i}_{what}": 1.000001 for i in (1, 2, 3) for what in ("backbone", "skip")}},
    "APG": {"apg": {"eta": 0.999999, "norm_threshold": 0, "momentum": 0}},
    "NAG": {"nag": {"alpha": 1e-6}},
}
"""Settings with which a technique does all its work, and changes nothing."""
TOGETHER = (
    {"pag": {"scale": 1e-6}, "seg": {"scale": 1e-6}} | NEUTRAL["TPG"] | NEUTRAL["FreeU"] | NEUTRAL["APG"] | NEUTRAL["NAG"]
)
"""All of them in one picture."""
LONG = ", ".join(["blurry"] * 50)
REGIONS = {"prompt": "a castle BREAK a blue boat", "negative_prompt": "blurry"}
NEGATIVE = {"prompt": "a castle, (blue boat:-1.4)", "negative_prompt": "blurry"}


NO_MAP = {"save_detected_map": False}
"""Without the picture that controls, of another size than a hires pass, among the pictures."""
TILES = {"width": 192, "height": 128}
"""Two tiles wide."""


def _noise() -> str:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def _regional(mode: str) -> dict[str, Any]:
    args = [True, False, "Matrix", "Columns", "Mask", "Prompt", "1,1", "0.2", False, False, False, mode, [], "0", "0", "0"]
    return {"Regional Prompter": {"args": [*args, "", "0", "0", False]}}


def _reference(module: str, weight: float = 1.0) -> dict[str, Any]:
    unit = {"enabled": True, "module": module, "model": "None", "image": _noise(), "weight": weight, "threshold_a": 0.5}
    return {"ControlNet": {"args": [unit | NO_MAP]}}


def _control(mode: str, nothing: str = "none") -> dict[str, Any]:
    unit = {"enabled": True, "module": nothing, "model": MODEL, "image": _noise(), "weight": 1.0, "control_mode": mode}
    return {"ControlNet": {"args": [unit | NO_MAP]}}


def _tiled(method: str, together: int) -> dict[str, Any]:
    return {"Tiled Diffusion": {"args": [True, method, False, True, 256, 256, 16, 16, 8, together, "None", 2.0]}}


MODEL = "<first that acts>"
"""Stands for the name of a model in a case's arguments and prompt."""
MODELS = {
    "ADetailer": ("/adetailer/v1/ad_model", lambda found: [name for name in found["ad_model"] if name.endswith(".pt")]),
    "ControlNet": ("/controlnet/model_list", lambda found: found["model_list"]),
    "LoRA": ("/sdapi/v1/loras", lambda found: [lora["name"] for lora in found]),
}
"""Where the WebUI lists the models of a case, by the first word of the case's name, and which of them can be used."""
DETAIL = {"ad_model": MODEL, "ad_mask_k": 1, "ad_denoising_strength": 0.7, "ad_inpaint_only_masked_padding": 16}
BLOCKS = "OUTER:" + ",".join(["1"] + ["0"] * 7 + ["1"] * 9)
KOHYA = {"Kohya Hires.fix": {"args": [True, True, 3, 4, 0.5, 0.5, "bicubic", 0.5, 2.0, True, False]}}
PERPENDICULAR = "a red castle AND_PERP a blue boat :1.5"
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "NegPiP": ({"NegPiP": {"args": [True]}}, NEGATIVE),
    "NegPiP, long negative prompt": ({"NegPiP": {"args": [True]}}, {**NEGATIVE, "negative_prompt": LONG}),
    "NegPiP at CFG 1": ({"NegPiP": {"args": [True]}}, {**NEGATIVE, "negative_prompt": LONG, "cfg_scale": 1}),
    "Regional Prompter": (_regional("Attention"), REGIONS),
    "Regional Prompter, unequal": (_regional("Attention"), {**REGIONS, "negative_prompt": LONG}),
    "Regional Prompter, latent": (_regional("Latent"), REGIONS),
    "Kohya Hires.fix": (KOHYA, {"width": 256, "height": 256}),
    "ControlNet reference_only": (_reference("reference_only"), {}),
    "ControlNet reference_adain": (_reference("reference_adain"), {}),
    "ControlNet reference_adain+attn": (_reference("reference_adain+attn"), {}),
    "Neutral Prompt": ({"Neutral Prompt": {"args": [0]}}, {"prompt": PERPENDICULAR}),
    "Neutral Prompt, rescaled": ({"Neutral Prompt": {"args": [0.5]}}, {"prompt": PERPENDICULAR}),
    "Detail Daemon": ({"Detail Daemon": {"args": [True, True, False, "both", 0.2, 0.8, 0.5, 0.8]}}, {}),
    "Tiled Diffusion": (_tiled("MultiDiffusion", 1), TILES),
    "Tiled Diffusion, tiles together": (_tiled("MultiDiffusion", 4), TILES),
    "Tiled Diffusion, mixture": (_tiled("Mixture of Diffusers", 4), TILES),
    "Tiled VAE": ({"Tiled VAE": {"args": [True, 128, 16, True, True, True, False]}}, {"width": 384, "height": 64}),
    "Cutoff": (
        {"Cutoff": {"args": [True, "red, blue, green", 2.0, True, True, "", "Lerp", False]}},
        {"prompt": "a red castle, blue boat, green tree"},
    ),
    "ADetailer": ({"ADetailer": {"args": [True, False, DETAIL]}}, {"width": 256, "height": 256}),
    "ControlNet, balanced": (_control("Balanced"), {}),
    "ControlNet, prompt first": (_control("My prompt is more important"), {}),
    "ControlNet, control first": (_control("ControlNet is more important"), {}),
    "LoRA": ({}, {"prompt": f"a castle <lora:{MODEL}:1>"}),
    "LoRA Block Weight": (
        {"LoRA Block Weight": {"args": [BLOCKS, True]}},
        {"prompt": f"a castle <lora:{MODEL}:1:lbw=OUTER>"},
    ),
    "Dynamic Prompts": ({"Dynamic Prompts v": {"args": [True]}}, {"prompt": "a {red castle|blue boat}"}),
}
"""For each extension its arguments, and the request that it acts in."""
EVERYWHERE = 2.0
"""The weight with which Forge's reference modes act in layers of few channels as well."""
FORGE_CASES = {
    "MultiDiffusion": ({"MultiDiffusion Integrated": {"args": [True, "MultiDiffusion", 128, 128, 64, 1]}}, TILES),
    "Mixture of Diffusers": ({"MultiDiffusion Integrated": {"args": [True, "Mixture of Diffusers", 128, 128, 64, 4]}}, TILES),
    "Kohya HRFix": (
        {"Kohya HRFix Integrated": {"args": [True, 3, 2.0, 0.0, 0.5, True, "bicubic", "bicubic"]}},
        {"width": 256, "height": 256},
    ),
    "Forge's FreeU": ({"FreeU Integrated": {"args": [True, 1.3, 1.4, 0.9, 0.2, 0.0, 1.0]}}, {}),
    "Forge's PAG": ({"PerturbedAttentionGuidance Integrated": {"args": [True, 3.0, 0.0, 0.0, 1.0]}}, {}),
    "Forge's SAG": ({"SelfAttentionGuidance Integrated": {"args": [True, 2.0, 2.0, 0.5]}}, {}),
    "HyperTile": ({"HyperTile Integrated": {"args": [True, 64, 2, 0, False]}}, {"width": 256, "height": 256}),
    "ControlNet reference_only": (_reference("reference_only", EVERYWHERE), {}),
    "ControlNet reference_adain": (_reference("reference_adain", EVERYWHERE), {}),
    "ControlNet reference_adain+attn": (_reference("reference_adain+attn", EVERYWHERE), {}),
    "ControlNet, balanced": (_control("Balanced", "None"), {}),
    "ControlNet, prompt first": (_control("My prompt is more important", "None"), {}),
    "ControlNet, control first": (_control("ControlNet is more important", "None"), {}),
} | {
    name: CASES[name]
    for name in (
        "ADetailer", "LoRA", "NegPiP", "NegPiP, long negative prompt",
        "Regional Prompter", "Regional Prompter, unequal", "Regional Prompter, latent",
    )
}  # fmt: skip
"""The same for Forge: what it has built in, and the extensions that run in it."""
ALWAYS_ON = ("Neutral Prompt", "Dynamic Prompts")
"""Acts by its syntax in a prompt, on or off."""
SIX = (
    "ADetailer",
    "ControlNet, balanced",
    "Regional Prompter",
    "Regional Prompter, latent",
    "Tiled Diffusion",
    "Kohya Hires.fix",
    "Detail Daemon",
)
"""Those run with two passes and with a refiner as well."""
PASSES = {
    "hires": {
        "enable_hr": True,
        "hr_scale": 1.5,
        "hr_upscaler": "Latent",
        "hr_second_pass_steps": 2,
        "denoising_strength": 0.7,
    },
    "refiner": {"refiner_switch_at": 0.5, "steps": 4},
}
INCANTATIONS = [False, 11.0, 0, 150, False, 1.0, 0.8, 3.0, 0.0, 0, 150, 4, True, 3.0, 0, 150]
ORIGINALS = {
    "Dynamic Thresholding (CFG Scale Fix)": ([True, 3.0], {"dynamic_thresholding": {"mimic_scale": 3}}),
    "Incantations": (INCANTATIONS, {"pag": {"scale": 3}}),
    "FreeU": ([True], {"freeu": {}}),
}
"""The replaced extensions: arguments with which they act, and the same method of ours."""


@dataclass(frozen=True)
class Case:
    """An extension with arguments, as the WebUI knows them."""

    name: str
    scripts: dict[str, Any]
    settings: dict[str, Any]

    @property
    def without(self) -> dict[str, Any]:
        """The request that it does not act in: without the syntax of LoRA."""
        return {**self.settings, "prompt": re.sub(" <.*>", "", self.settings.get("prompt", "a castle"))}
