"""Keys of generation parameters written by the hosts themselves (A1111 1.10, Forge)."""

from __future__ import annotations

import re

HOST_KEYS = frozenset(
    (
        "AddNet Enabled|App|Beta schedule alpha|Beta schedule beta|CFG scale|Cache FP16 weight for LoRA|"
        "Clip skip|Comments|Conditional mask weight|Denoising strength|Diffusion in Low Bits|Discard penultimate sigma|"
        "Distilled CFG Scale|Downcast alphas_cumprod|ENSD|Emphasis|Eta|Eta DDIM|Extra noise|FP8 weight|"
        "Face restoration|Face restoration model|First pass size|First pass size-1|First pass size-2|Fixed X Values|"
        "Fixed Y Values|Fixed Z Values|Hires refiner|Hypernet|Hypernet hash|Hypernet strength|Image CFG scale|"
        "Init image hash|Inpaint area|Lora hashes|Mask blur|Mask mode|Masked area padding|Masked content|Masks|"
        "Model|Model hash|Module 1|Module 2|Module 3|NGMS|NGMS all steps|Negative Template|Noise Schedule|"
        "Noise multiplier|Old prompt editing timelines|Pad conds|Pad conds v0|RNG|Refiner|Refiner switch at|"
        "Refiner switch by sampling steps|Resize mode|Restore faces|SGM noise multiplier|Sampler|Schedule max sigma|"
        "Schedule min sigma|Schedule rho|Schedule type|Script|Seed|Seed resize from|Seed resize from-1|"
        "Seed resize from-2|Sigma churn|Sigma noise|Sigma tmax|Sigma tmin|Size|Size-1|Size-2|Skip Early CFG|"
        "Soft inpainting enabled|Steps|Style Selector Enabled|TI|TI hashes|TI names|Template|Tiling|"
        "Token merging ratio|Token merging ratio hr|UniPC lower order final|UniPC order|UniPC skip type|UniPC variant|"
        "Upcast cross attention|Upscaler|User|VAE|VAE Decoder|VAE Encoder|VAE hash|Variation seed|"
        "Variation seed strength|Version|Wildcard prompt|X Type|X Values|Y Type|Y Values|Z Type|Z Values|"
        "Zero Terminal SNR"
    ).split("|")
)
HOST_FAMILIES = re.compile(
    r"(Hires|Hypertile|Soft inpainting|Refiner|Prompt|Negative prompt|ControlNet \d|Sd upscale|Loopback)\b.*"
)


def is_host_key(key: str) -> bool:
    """Return True if a key is the host's, and not ours or that of an extension that SDFM replaces."""
    return key in HOST_KEYS or HOST_FAMILIES.match(key) is not None
