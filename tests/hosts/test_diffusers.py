"""Against diffusers' UNet and PAG with the same weights: implementations that nobody here wrote."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.attention_processor import PAGCFGIdentitySelfAttnProcessor2_0, PAGIdentitySelfAttnProcessor2_0
from diffusers.pipelines.pag.pag_utils import PAGMixin
from torch import Tensor, nn

from lib_sdfm.hosts.a1111.attention import PerturbedAttention
from lib_sdfm.hosts.unet_layers import UnetLayers
from lib_sdfm.sampling.layers import parse_layers
from lib_sdfm.sampling.stages import Perturbation
from tests.hosts.fake_a1111 import Host, Sampler
from tests.hosts.jobs import job, new_host, samples
from tests.hosts.reference import timestep_of
from tests.support import CONTEXT, DEPTH, noise_of, predict, tiny_unet

X, TIMES, TEXT = noise_of(1, 2, 4, 8, 8), torch.tensor([500.0, 20.0]), noise_of(2, 2, 5, CONTEXT)
BLOCKS = ["input.1", "input.3", "middle", "output.0", "output.1", "output.2", "output.3"]
THEIR_BLOCKS = [
    "down_blocks.0",
    "down_blocks.1",
    "mid_block",
    *(f"up_blocks.{i}.attentions.{j}" for i in (0, 1) for j in (0, 1)),
]
FIRST_LEVEL = ("down_blocks.0", "up_blocks.1.attentions.0", "up_blocks.1.attentions.1")


def their_unet(unet: nn.Module) -> UNet2DConditionModel:
    """Diffusers' UNet with the weights of :func:`tiny_unet`."""
    theirs = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=CONTEXT, transformer_layers_per_block=[1, DEPTH],
    )  # fmt: skip
    weights = {f"model.diffusion_model.{name}": weight for name, weight in unet.state_dict().items()}
    theirs.load_state_dict(convert_ldm_unet_checkpoint(weights, theirs.config))
    return theirs.eval().requires_grad_(False)


def perturb(theirs: UNet2DConditionModel, block: str, processor: object) -> None:
    """Sets a processor in the self-attention of a block."""
    chosen = [name for name in theirs.attn_processors if name.startswith(block) and "attn1" in name]
    assert len(chosen) == (1 if block in FIRST_LEVEL else DEPTH)
    theirs.set_attn_processor({**theirs.attn_processors, **dict.fromkeys(chosen, processor)})


@pytest.fixture
def unet() -> nn.Module:
    return tiny_unet()


@torch.no_grad()
def test_the_two_unets_agree(unet: nn.Module):
    torch.testing.assert_close(predict(unet, X, TIMES, TEXT), their_unet(unet)(X, TIMES, TEXT).sample, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("block", "their_block"), zip(BLOCKS, THEIR_BLOCKS), ids=BLOCKS)
def test_perturbed_attention_is_theirs(unet: nn.Module, block: str, their_block: str):
    theirs = their_unet(unet)
    perturb(theirs, their_block, PAGIdentitySelfAttnProcessor2_0())  # perturbs the second half of a batch
    plain, wanted = theirs(X.repeat(2, 1, 1, 1), TIMES.repeat(2), TEXT.repeat(2, 1, 1)).sample.chunk(2)
    with PerturbedAttention(UnetLayers(unet), Perturbation(parse_layers(block), identity=True)):
        got = predict(unet, X, TIMES, TEXT)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert (wanted - plain).std() > 0.01


class Guidance(PAGMixin):
    """Diffusers' sum of CFG and PAG, without a pipeline."""

    _pag_scale, pag_adaptive_scale, do_perturbed_attention_guidance, do_pag_adaptive_scaling = 3.0, 0.0, True, False


def their_samples(host: Host) -> Tensor:
    """Euler by hand on diffusers' UNet, rows as in its pipeline: uncond, cond, perturbed."""
    p = job(host)
    p.setup_conds()
    theirs = their_unet(host.sd_model.model.diffusion_model)
    perturb(theirs, "mid_block", PAGCFGIdentitySelfAttnProcessor2_0())
    text = torch.stack([p.uc[0], p.c[0][0][0], p.c[0][0][0]])
    sigmas = Sampler(host, "Euler").get_sigmas(p.steps).tolist()
    x = p.noise(8, 8) * sigmas[0]
    for sigma, sigma_next in zip(sigmas, sigmas[1:]):
        rows = (x / (sigma**2 + 1) ** 0.5).repeat(3, 1, 1, 1)
        eps = theirs(rows, timestep_of(sigma), text).sample
        x = x + Guidance()._apply_perturbed_attention_guidance(eps, True, p.cfg_scale, 0) * (sigma_next - sigma)
    return x


@torch.no_grad()
def test_a_guided_picture_is_theirs():
    host = new_host()
    torch.testing.assert_close(samples(host, {"pag": {"scale": 3}}), their_samples(host), rtol=1e-3, atol=1e-2)
