"""Stand-ins of other extensions on A1111, of their manner: what they hook or replace in a UNet, and what they count on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.hosts.fake_a1111 import Host, Processing, prompt
from tests.hosts.test_tail import unet_of

STRENGTH = 1.4
"""Factor of the stand-ins for attention to the prompt."""
PROMPT, NEGATIVE = 2, 3
"""Tokens of the texts of a job with :func:`unequal` texts, by which the rows can be told apart."""


def unequal(images: int = 1) -> dict[str, Any]:
    """Settings of a job whose prompt is shorter than its negative prompt, so that the host predicts them in separate calls."""
    return {
        "batch_size": images,
        "conds": [[(prompt(1 + image, PROMPT), 1.0)] for image in range(images)],
        "unconds": torch.stack([prompt(0, NEGATIVE)] * images),
    }


class Extension:
    """An extension that attaches before a batch and detaches when the job ends."""

    def __init__(self, host: Host) -> None:
        self.host, self.unet = host, unet_of(host)
        host.on_cfg_denoiser.append(self.on_cfg_denoiser)

    def before_process(self, p: Processing, *args: Any) -> None:
        """Do nothing yet."""

    def process_batch(self, p: Processing, *args: Any) -> None:
        self.images = p.batch_size
        self.attach()

    def process_before_every_sampling(self, p: Processing, *args: Any) -> None:
        """Do nothing."""

    def postprocess(self, p: Processing, *args: Any) -> None:
        self.detach()
        self.host.on_cfg_denoiser.remove(self.on_cfg_denoiser)

    def on_cfg_denoiser(self, params: Any) -> None:
        """Do nothing."""

    def attach(self) -> None:
        raise NotImplementedError

    def detach(self) -> None:
        raise NotImplementedError


class CrossAttention(Extension):
    """Replaces the forward of each cross-attention, to make attention to the prompt stronger."""

    def attach(self) -> None:
        for module in self._modules():
            module.forward = self._forward(module)

    def detach(self) -> None:
        for module in self._modules():
            vars(module).pop("forward", None)

    def _modules(self) -> list[nn.Module]:
        return [module.attn2 for module in self.unet.modules() if hasattr(module, "attn2")]

    def _forward(self, module: nn.Module) -> Callable[..., Tensor]:
        def forward(x: Tensor, context: Tensor | None = None, **kwargs: Any) -> Tensor:
            return self.changed(type(module).forward(module, x, context=context, **kwargs), context)

        return forward

    def changed(self, output: Tensor, context: Tensor) -> Tensor:
        """Return what takes the place of a layer's output ``(rows, tokens, channels)``."""
        raise NotImplementedError


class ByLength(CrossAttention):
    """Knows the prompt by the length of its text: needs no order and no count. The others have to give what this gives."""

    def changed(self, output: Tensor, context: Tensor) -> Tensor:
        return output * STRENGTH if context.shape[1] == PROMPT else output


class ByCount(CrossAttention):
    """NegPiP: of two rows per image the first half is the prompt's; else every other round of all layers is."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._count, self._layers = 0, len(self._modules())

    def on_cfg_denoiser(self, params: Any) -> None:
        self._count = 0

    def changed(self, output: Tensor, context: Tensor) -> Tensor:
        if len(output) == 2 * self.images:
            return torch.cat([output[: self.images] * STRENGTH, output[self.images :]])
        is_prompt = self._count // self._layers % 2 == 0
        self._count += 1
        return output * STRENGTH if is_prompt else output


class UntilBatchEnds(ByLength):
    """Incantations: detaches when a batch ends, not when the job does."""

    def postprocess_batch(self, p: Processing, *args: Any, **kwargs: Any) -> None:
        self.detach()

    def postprocess(self, p: Processing, *args: Any) -> None:
        self.host.on_cfg_denoiser.remove(self.on_cfg_denoiser)


class ByPairs(CrossAttention):
    """Regional Prompter: of two rows per image the first half is the prompt's; else it goes by the text's length."""

    def changed(self, output: Tensor, context: Tensor) -> Tensor:
        images = self.images
        if len(output) == 2 * images:
            return torch.cat([output[:images] * STRENGTH, output[images:]])
        return output * STRENGTH if context.shape[1] == PROMPT else output


class Bank(Extension):
    """ControlNet's reference mode: runs noise through the UNet first, for all rows, and adds what its middle block gave.

    It calls an attention layer with some of the rows, and draws other random numbers in the first call than in later ones.
    """

    _bank: Tensor | None = None
    _rows: int | None = None

    def attach(self) -> None:
        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if self._rows is None:  # what it prepares in the first call draws numbers as well
                torch.randn(7)
            self._rows = self._rows or len(x)
            own = type(self.unet).forward
            kept: list[Tensor] = []
            attention = self.unet.middle_block[1].transformer_blocks[0].attn1
            attention.forward = lambda x, *args, **kwargs: torch.cat(
                [type(attention).forward(attention, row[None], *args, **kwargs) for row in x]
            )
            handle = self.unet.middle_block.register_forward_hook(lambda module, given, output: kept.append(output))
            own(self.unet, torch.randn(self._rows, *x.shape[1:]), *args, **kwargs)
            handle.remove()
            handle = self.unet.middle_block.register_forward_hook(lambda module, given, output: output + kept[0])
            try:
                return own(self.unet, x, *args, **kwargs)
            finally:
                handle.remove()
                del attention.forward

        self.unet.forward = forward

    def detach(self) -> None:
        vars(self.unet).pop("forward", None)
        self._rows = None


class Scaler(nn.Module):
    """A block that is no sequence."""

    def __init__(self, block: nn.Module, scale: float) -> None:
        super().__init__()
        self.block, self.scale = block, scale

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        return self.block(nn.functional.interpolate(x, scale_factor=self.scale), *args)


class Scalers(Extension):
    """Kohya's hires fix: puts blocks that scale in place of an encoder block and its decoder block, in the host's callback."""

    DEPTH = 1

    def __init__(self, host: Host, scale: float = 0.5) -> None:
        super().__init__(host)
        self._scale, self._own = scale, None

    def attach(self) -> None:
        """Wait for the callback."""

    def on_cfg_denoiser(self, params: Any) -> None:
        if self._own is not None:
            return
        inner, outer = self.unet.input_blocks, self.unet.output_blocks
        self._own = inner[self.DEPTH], outer[-self.DEPTH - 1]
        inner[self.DEPTH] = Scaler(self._own[0], self._scale)
        outer[-self.DEPTH - 1] = Scaler(self._own[1], 1 / self._scale)

    def detach(self) -> None:
        if self._own is not None:
            self.unet.input_blocks[self.DEPTH], self.unet.output_blocks[-self.DEPTH - 1] = self._own
        self._own = None


class Perpendicular(Extension):
    """Neutral Prompt: replaces ``combine_denoised``; an image's second prompt acts perpendicular to its first."""

    def process_before_every_sampling(self, p: Processing, *args: Any) -> None:
        denoiser = p.sampler.model_wrap_cfg
        own = denoiser.combine_denoised

        def combine(x_out: Tensor, conds_list: list, uncond: Any, cond_scale: float) -> Tensor:
            first = [conds[:1] for conds in conds_list]
            result = own(x_out, first, uncond, cond_scale)
            for image, (main, *others) in enumerate(conds_list):
                base = x_out[image - len(conds_list)]
                along = x_out[main[0]] - base
                for row, weight in others:
                    delta = x_out[row] - base
                    result[image] += (delta - along * (delta * along).sum() / (along * along).sum()) * weight * cond_scale
            return result

        denoiser.combine_denoised = combine

    def attach(self) -> None:
        """Wait for the sampler."""

    def detach(self) -> None:
        """Leave the sampler, which is made anew."""


class Counting(CrossAttention):
    """Counts its calls over the whole job: what it does in a call can't be repeated."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._count = 0

    def changed(self, output: Tensor, context: Tensor) -> Tensor:
        self._count += 1
        return output * (1 + 0.1 * self._count)


class Regions(Extension):
    """Regional Prompter's latent mode: each prompt acts in its region, and the negative prompt elsewhere.

    The host predicts one prompt of all images after the other, so the rows are brought into that order first.
    """

    def __init__(self, host: Host, masks: Tensor | None = None) -> None:
        super().__init__(host)
        self._masks = HALVES if masks is None else masks
        host.on_cfg_denoised.append(self.on_cfg_denoised)

    def attach(self) -> None:
        """Only change an option."""
        self.host.batch_cond_uncond = False

    def detach(self) -> None:
        self.host.batch_cond_uncond = True
        self.host.on_cfg_denoised.remove(self.on_cfg_denoised)

    def _order(self, rows: int) -> list[int]:
        """Places of the rows (image by image) in the order of the calls (prompt by prompt)."""
        prompts = rows // self.images - 1
        return [image * prompts + prompt for prompt in range(prompts) for image in range(self.images)]

    def on_cfg_denoiser(self, params: Any) -> None:
        order = self._order(len(params.x))
        for values in (params.x, params.image_cond, params.sigma, params.text_cond):
            values[: len(order)] = values[order].clone()

    def on_cfg_denoised(self, params: Any) -> None:
        order, x = self._order(len(params.x)), params.x
        given = x.clone()
        for place, row in enumerate(order):
            mask = self._masks[row % (len(order) // self.images)]
            x[row] = given[place] * mask + given[row // (len(order) // self.images) - self.images] * (1 - mask)


HALVES = torch.tensor([[1.0] * 4 + [0.0] * 4, [0.0] * 4 + [1.0] * 4])
"""Masks of two regions, left and right, for latents 8 wide."""


class Tiles(Extension):
    """Tiled Diffusion: the denoiser calls the model with both halves of all rows at once, or one after the other.

    :param together: at once
    """

    def __init__(self, host: Host, together: bool = True) -> None:
        super().__init__(host)
        self._together = together

    def process_before_every_sampling(self, p: Processing, *args: Any) -> None:
        inner = p.sampler.model_wrap_cfg.inner_model
        own = inner.forward

        def forward(x: Tensor, sigma: Tensor, cond: dict[str, Any]) -> Tensor:
            halves = x.chunk(2, 3)
            if not self._together:
                return torch.cat([own(half, sigma, cond=cond) for half in halves], 3)
            twice = {name: [torch.cat([value] * 2) for value in values] for name, values in cond.items()}
            return torch.cat(own(torch.cat(halves), torch.cat([sigma] * 2), cond=twice).chunk(2), 3)

        inner.forward = forward

    def attach(self) -> None:
        """Wait for the sampler."""

    def detach(self) -> None:
        """Leave the sampler, which is made anew."""


class Noisy(Extension):
    """Adds noise to the predictions."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        host.on_cfg_denoised.append(self.on_cfg_denoised)

    def attach(self) -> None:
        """Nothing else to attach."""

    def detach(self) -> None:
        self.host.on_cfg_denoised.remove(self.on_cfg_denoised)

    def on_cfg_denoised(self, params: Any) -> None:
        params.x += torch.randn_like(params.x)
