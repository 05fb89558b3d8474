"""Keys of generation parameters that the hosts themselves write (A1111 1.10, Forge)."""

from __future__ import annotations

import re

HOST_KEYS = frozenset(
    """Steps|Sampler|Schedule type|Schedule max sigma|Schedule min sigma|Schedule rho|CFG scale|Image CFG scale|Seed
    |Face restoration|Face restoration model|Restore faces|Size|Size-1|Size-2|Model hash|Model|VAE hash|VAE|FP8 weight|Cache FP16 weight for LoRA
    |Variation seed|Variation seed strength|Seed resize from|Seed resize from-1|Seed resize from-2|Denoising strength|Conditional mask weight
    |Clip skip|ENSD|Eta|Eta DDIM|RNG|NGMS|NGMS all steps|Skip Early CFG|Tiling|User|Version|Init image hash|Template
    |Negative Template|Beta schedule alpha|Beta schedule beta|Discard penultimate sigma|SGM noise multiplier|Extra noise
    |Sigma churn|Sigma tmin|Sigma tmax|Sigma noise|Pad conds|Pad conds v0|Emphasis|TI|TI hashes|TI names|Lora hashes|Hypernet
    |Hypernet hash|Hypernet strength|Token merging ratio|Token merging ratio hr|Old prompt editing timelines
    |Downcast alphas_cumprod|Upcast cross attention|UniPC order|UniPC variant|UniPC skip type|UniPC lower order final
    |Refiner|Refiner switch at|Refiner switch by sampling steps|Hires refiner|Noise multiplier|Noise Schedule
    |Mask blur|Mask mode|Masked content|Inpaint area|Masked area padding|Masks|Resize mode|Zero Terminal SNR|Upscaler
    |VAE Encoder|VAE Decoder|Wildcard prompt|X Type|X Values|Fixed X Values|Y Type|Y Values|Fixed Y Values|Z Type|Z Values|Fixed Z Values|Script
    |Module 1|Module 2|Module 3|Diffusion in Low Bits|Distilled CFG Scale|AddNet Enabled|Style Selector Enabled|First pass size
    |First pass size-1|First pass size-2|Soft inpainting enabled|Comments""".replace("\n    ", "").split("|")
)
HOST_FAMILIES = re.compile(
    r"(Hires|Hypertile|Soft inpainting|Refiner|Prompt|Negative prompt|ControlNet \d|Sd upscale|Loopback)\b.*"
)


def is_host_key(key: str) -> bool:
    """Whether a key is the host's, and none of ours or of an extension that SDFM replaces."""
    return key in HOST_KEYS or HOST_FAMILIES.match(key) is not None
