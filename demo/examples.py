"""Generation parameters that people have published, as they stand: pictures without a prompt, only guidance."""

DDIM_CFGPP = (
    "Steps: 48, Sampler: DDIM CFG++, Schedule type: Automatic, CFG scale: 1, Seed: 3045266444, Size: 1024x1024, "
    "Model hash: bdb9f136b6, Model: x215a-AstolfoMix-24101101-6e545a3, VAE hash: 235745af8d, "
    "VAE: sdxl-vae-fp16-fix.vae.safetensors, Clip skip: 2, SEG Active: True, SEG Blur Sigma: 11, SEG Start Step: 0, "
    "SEG End Step: 2048, PAG Active: True, PAG SANF: True, PAG Scale: 1, PAG Start Step: 0, PAG End Step: 2048, "
    "Version: v1.10.1"
)
_EULER = (
    "Steps: 48, Sampler: Euler, Schedule type: Automatic, CFG scale: 3, Seed: {}, Size: {}, Model hash: e276a52700, "
    "Model: x72a-AstolfoMix-240421-feefbf4, VAE hash: 26cc240b77, VAE: sd_xl_base_1.0.vae.safetensors, Clip skip: 2, "
    r'FreeU Stages: "[{{\"backbone_factor\": 1.1, \"skip_factor\": 0.6}}, '
    r'{{\"backbone_factor\": 1.2, \"skip_factor\": 0.4}}]", '
    'FreeU Schedule: "0.0, 1.0, 0.0", FreeU Version: 2, Dynamic thresholding enabled: True, Mimic scale: 1, '
    "Separate Feature Channels: False, Scaling Startpoint: MEAN, Variability Measure: AD, Interpolate Phi: 0.3, "
    "Threshold percentile: 100, PAG Active: True, PAG Scale: 1, Version: v1.9.3"
)
EULER_SQUARE = _EULER.format(3649863581, "1024x1024")
EULER_PORTRAIT = _EULER.format(2373230122, "768x1344")
EXAMPLES = {"a": DDIM_CFGPP, "b": EULER_SQUARE, "c": EULER_PORTRAIT}
