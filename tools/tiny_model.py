"""The shapes models as three networks: UNet, text encoder, latent coding; saved and loaded in the layout of LDM checkpoints."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tools import shapes

DEMO = Path(__file__).resolve().parents[1] / "demo"
MODELS = DEMO / "models"
EPS, FLOW, V = "eps", "flow", "v"
CONSTANT = 6.0
"""In the channels that don't carry the input, see :func:`_let_input_through`."""
PREFIXES = {"unet": "model.diffusion_model.", "text": "cond_stage_model.transformer.", "coding": "first_stage_model."}
UNET = {
    "image_size": 16, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 2],
    "attention_resolutions": [2], "num_heads": -1, "num_head_channels": 32, "use_spatial_transformer": True,
    "transformer_depth": 1, "middle_depth": 3, "context_dim": 64, "legacy": False, "groups": 8, "out_groups": 1,
}  # fmt: skip
"""SDXL's layout, small: no attention at full size, attention in all below, the deepest stack of it in the middle. There are 8
by 8 tokens, so few levels, so that self-attention sees parts of shapes; and nothing tells a place of the caption but
cross-attention."""


class TinyModel(nn.Module):
    """All of a checkpoint.

    :param config: ``unet``, ``text``, ``coding``: the networks' arguments; ``objective``: eps, flow, or v (zero terminal SNR)
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        if str(DEMO) not in sys.path:
            sys.path.append(str(DEMO))
        from modules.latent_coding import LatentCoding
        from modules.sd_unet import create_unet
        from modules.text_transformer import TextTransformer

        self.config = config
        self.unet = create_unet(config["unet"])
        self.text = TextTransformer(**config["text"])
        self.coding = LatentCoding(**config["coding"])

    @property
    def objective(self) -> str:
        return self.config["objective"]

    def numbers(self, captions: Sequence[str]) -> Tensor:
        """Captions to token numbers ``(B, N)``, N that of the longest."""
        rows = [self.text.number(re.findall(r"\w+|[^\w\s]", caption.lower())) for caption in captions]
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)

    def conditioning(self, captions: Sequence[str]) -> Tensor:
        """Captions to conds ``(B, 77, width)``."""
        return self.text(self.numbers(captions))

    def save(self, path: Path, **about: Any) -> None:
        """Half precision; what the demo must know, and what programs look for in other people's models, in the metadata."""
        weights = {
            f"{prefix}{name}": value.half().contiguous()
            for part, prefix in PREFIXES.items()
            for name, value in getattr(self, part).state_dict().items()
        }
        if self.objective == V:  # the marks that WebUIs look for
            weights |= {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
        # a WebUI knows nothing of flow or v: such a checkpoint says of itself what all do, and is taken for eps
        described = {**self.config, **about, "parameterization": "eps"}
        metadata = {
            "sdfm_demo": json.dumps(described),
            "modelspec.sai_model_spec": "1.0.0",
            "modelspec.architecture": "sdfm-shapes",
            "modelspec.title": path.stem,
            "modelspec.resolution": f"{shapes.SIZE}x{shapes.SIZE}",
            "modelspec.prediction_type": {EPS: "epsilon", FLOW: "flow", V: "v"}[self.objective],
        }
        partial = path.with_suffix(".partial")
        save_file(weights, partial, metadata)
        os.chmod(partial, 0o644)
        os.replace(partial, path)


def _let_input_through(unet: nn.Module) -> None:
    """Untrained, the UNet gives its input: nearly right where there is much noise, and small errors count most there.

    The input, plus and minus, goes through the first skip to the last layer; ``silu(x) - silu(-x)`` is ``x``. On its way is
    a norm. In latents of 12 by 12 a picture's noise is some per cent louder or softer than noise should be; a norm hides that,
    and where sigma is 14 the error is half a picture. So the last norm has one group, and constants in the channels that don't
    carry the input are so large that they alone decide it; its own scale and shift undo them.
    """
    first, last = unet.input_blocks[0][0], unet.output_blocks[-1][0].skip_connection
    norm, out = unet.out[0], unet.out[-1]
    channels, of_skip = unet.in_channels, last.in_channels - unet.model_channels
    first.weight[: 2 * channels] = 0.0
    last.weight[: 2 * channels] = 0.0
    for channel in range(channels):
        for row, sign in ((channel, 1.0), (channel + channels, -1.0)):
            first.weight[row, channel, 1, 1] = sign
            last.weight[row, of_skip + row] = 1.0
            out.weight[channel, row, 1, 1] = sign
    constants = torch.tensor([CONSTANT, -CONSTANT]).repeat(unet.model_channels // 2)
    constants[: 2 * channels] = 0
    last.bias.add_(constants)
    norm.bias.sub_(constants)
    norm.weight.fill_((constants.square().mean() + 2 * channels / unet.model_channels).sqrt())


@torch.no_grad()
def new_model(objective: str = EPS) -> TinyModel:
    """Untrained, from torch's own random numbers."""
    text = {"words": shapes.WORDS, "width": UNET["context_dim"], "heads": 4, "layers": 2}
    model = TinyModel({"unet": UNET, "text": text, "coding": {"width": 80, "blocks": 3}, "objective": objective})
    _let_input_through(model.unet)
    return model


def read_metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


def load(path: Path) -> TinyModel:
    """A saved model, in float32, for use without gradients."""
    model = TinyModel(json.loads(read_metadata(path)["sdfm_demo"]))
    weights = load_file(path)
    for part, prefix in PREFIXES.items():
        own = {name.removeprefix(prefix): value.float() for name, value in weights.items() if name.startswith(prefix)}
        getattr(model, part).load_state_dict(own)
    return model.eval().requires_grad_(False)
