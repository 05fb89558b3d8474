"""CFG and PAG in plain torch, written apart from the library: one picture and one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.hosts.fake_a1111 import Conds
from tests.support import predict, stable_diffusion_alphas

SIGMAS = ((1 - stable_diffusion_alphas().double()) / stable_diffusion_alphas().double()).sqrt().numpy()


def timestep_of(sigma: float) -> float:
    """The model's time of a noise level."""
    return float(np.interp(np.log(sigma), np.log(SIGMAS), np.arange(1000)))


@contextmanager
def without_self_attention(attention: nn.Module, project: bool = True) -> Iterator[None]:
    """Attention that gives its values, through its output projection or not."""

    def forward(x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        values = attention.to_v(x)
        return attention.to_out(values) if project else values

    attention.forward = forward
    try:
        yield
    finally:
        del attention.forward


def middle_attentions(unet: nn.Module) -> list[nn.Module]:
    """The self-attention modules of the middle block."""
    return [block.attn1 for block in unet.middle_block[1].transformer_blocks]


class Reference:
    """A model as samplers call it, with CFG and PAG.

    :param recipe: ``original``: only the first middle block, without its output projection
    :param cfg: the CFG scale of a call, given its number and noise level; ``None`` where uncond is skipped
    :param pag: the PAG scale of a call
    """

    def __init__(
        self,
        unet: nn.Module,
        conds: Conds,
        uncond: Tensor,
        cfg: Callable[[int, float], float | None] = lambda call, sigma: 7.0,
        pag: Callable[[int, float], float] = lambda call, sigma: 3.0,
        recipe: str = "sdfm",
    ) -> None:
        self.unet, self.conds, self.uncond, self.cfg, self.pag = unet, conds, uncond, cfg, pag
        attentions = middle_attentions(unet)
        self.attentions, self.project = (attentions[:1], False) if recipe == "original" else (attentions, True)
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        """The denoised pictures of one call, in k-diffusion's coordinates."""
        level = float(sigma[0])
        eps, _ = self.eps(x / (level**2 + 1) ** 0.5, timestep_of(level), level)
        return x - level * eps

    def eps(self, x: Tensor, timestep: float, sigma: float) -> tuple[Tensor, Tensor]:
        """The guided noise and the uncond one, of latents scaled as the model wants them."""
        cfg, pag = self.cfg(self.calls, sigma), self.pag(self.calls, sigma)
        self.calls += 1
        pairs = [self._image(x[i : i + 1], timestep, self.conds[i], self.uncond[i], cfg, pag) for i in range(len(x))]
        return torch.cat([guided for guided, _ in pairs]), torch.cat([uncond for _, uncond in pairs])

    def _image(
        self, x: Tensor, timestep: float, prompts: list[tuple[Tensor, float]], negative: Tensor, cfg: float | None, pag: float
    ) -> tuple[Tensor, Tensor]:
        conds = [self._predict(x, timestep, text) for text, _ in prompts]
        uncond = conds[0] if cfg is None else self._predict(x, timestep, negative)
        guided = uncond
        for cond, (text, weight) in zip(conds, prompts):
            guided = guided + weight * (1.0 if cfg is None else cfg) * (cond - uncond)
            if pag:
                guided = guided + weight * pag * (cond - self._predict(x, timestep, text, perturbed=True))
        return guided, uncond

    def _predict(self, x: Tensor, timestep: float, text: Tensor, perturbed: bool = False) -> Tensor:
        with ExitStack() as stack, torch.no_grad():
            for attention in self.attentions if perturbed else ():
                stack.enter_context(without_self_attention(attention, self.project))
            return predict(self.unet, x, torch.tensor([timestep]), text[None])
