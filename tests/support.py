"""Helpers of several tests: small models with random weights, and a list of what is attached to objects."""

from __future__ import annotations

from collections import OrderedDict

import torch
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn

CONTEXT = 16
"""Channels of the text conditioning of :func:`tiny_unet`."""

ADM = 8
"""Channels of the vector that :func:`tiny_sdxl_unet` is given besides."""

DEPTH = 2
"""Its transformer blocks wherever there is attention, but for the first level, which has one: SDXL has more further down."""

UNET = {
    "image_size": 8, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": 1, "channel_mult": (1, 2),
    "num_heads": 2, "attention_resolutions": (1, 2), "use_spatial_transformer": True, "transformer_depth": DEPTH,
    "context_dim": [CONTEXT] * DEPTH, "use_checkpoint": False,
}  # fmt: skip


_made: dict[str, UNetModel] = {}
"""UNets that nobody is given, by what they were made of: to make one takes ten times as long as to copy it."""


def tiny_unet(seed: int = 0, **changes: object) -> UNetModel:
    """The real LDM UNet, small, with two levels and random weights."""
    key = repr((seed, sorted(changes.items())))
    if key not in _made:
        _made[key] = _new_unet(seed, **changes)
    return copied(_made[key])


COLLECTIONS = {dict, OrderedDict, list, set}
"""Types of attributes that a copy of a module has of its own."""


def copied(module: nn.Module, known: dict[nn.Module, nn.Module] | None = None) -> nn.Module:
    """A module that shares nothing with another one; what it keeps in dictionaries and lists is its own as well.

    :param known: copies made so far, as a module may be part of several
    """
    known = {} if known is None else known
    if module not in known:
        new = known[module] = module.__class__.__new__(module.__class__)
        own = vars(new)
        own.update(vars(module))
        own.update((name, value.copy()) for name, value in vars(module).items() if type(value) in COLLECTIONS)
        new._parameters.update(
            (name, nn.Parameter(p.clone(), False)) for name, p in module._parameters.items() if p is not None
        )
        new._buffers.update((name, b.clone()) for name, b in module._buffers.items() if b is not None)
        new._modules.update((name, copied(child, known)) for name, child in module._modules.items() if child is not None)
    return known[module]


def _new_unet(seed: int, **changes: object) -> UNetModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNetModel(**{**UNET, **changes})
        for module in unet.modules():
            if getattr(module, "in_channels", None) == UNET["model_channels"] and hasattr(module, "transformer_blocks"):
                del module.transformer_blocks[1:]
        for module in unet.modules():
            own = list(module.parameters(recurse=False))
            if own and not any(bool(weight.any()) for weight in own):  # what training starts from zero: no output without
                module.reset_parameters()
    return unet.eval().requires_grad_(False)


def tiny_sdxl_unet(seed: int = 0, **changes: object) -> UNetModel:
    """The same with SDXL's second conditioning, a vector that joins the time embedding."""
    unet = tiny_unet(seed, num_classes="continuous", **changes)
    width = unet.time_embed[-1].out_features
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        unet.label_emb = nn.Sequential(nn.Linear(ADM, width), nn.SiLU(), nn.Linear(width, width))
    return unet.eval().requires_grad_(False)


def vector_of(text: Tensor) -> Tensor:
    """The vector that goes with texts ``(rows, tokens, channels)``: ``(rows, ADM)``."""
    return text.flatten(1)[:, :ADM]


def predict(unet: nn.Module, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
    """The UNet's output; this class wants a context for each transformer block where there are several."""
    vector = {} if unet.num_classes is None else {"y": vector_of(context)}
    return unet(x, timesteps, context=[context] * DEPTH, **vector)


def noise_of(seed: int, *shape: int) -> Tensor:
    """Normal random numbers that depend on the seed only."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stable_diffusion_alphas() -> Tensor:
    """The noise table of Stable Diffusion, ``(1000,)``."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


HOOKS = [name for name in vars(nn.Module()) if "_hooks" in name]
"""The dictionaries in which a module keeps what is called beside it."""


def fingerprint(*owners: object) -> dict[str, object]:
    """Return what is attached to objects: their callable attributes, and the hooks of all modules that they are or hold.

    Two fingerprints are equal when nobody attached or detached anything in between.
    """
    found: dict[str, object] = {}
    for number, owner in enumerate(owners):
        for name, value in vars(owner).items():
            found[f"{number}.{name}"] = value if callable(value) and not isinstance(value, nn.Module) else "there"
        for path, module in owner.named_modules() if isinstance(owner, nn.Module) else ():
            own = vars(module)
            for name in HOOKS:
                if own[name]:
                    found[f"{number}.{path}.{name}"] = dict(own[name])
            if "forward" in own:
                found[f"{number}.{path}.forward"] = own["forward"]
    return found
