"""Edits of the inputs of the decoder blocks of an LDM or SGM UNet, by hooks on the blocks.

The UNet calls each output block with backbone and skip features already concatenated; they are split by the skip's width.
At odd sizes the backbone is a row or column larger than the skip, and A1111 crops it to the skip's size in between. The
edit gets it uncropped, as its statistics are those of the whole map.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...errors import UnsupportedError
from ..attention import decoder_did_not_run

Edit = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""Function from backbone features, skip features and the UNet's base width to the edited features."""


class EditedSkips:
    """Decoder features of a UNet, edited between :meth:`attach` and :meth:`detach`.

    :raises UnsupportedError: if the model has no such blocks
    """

    def __init__(self, unet: nn.Module, edit: Edit) -> None:
        if not hasattr(unet, "output_blocks"):
            raise UnsupportedError(f"{type(unet).__name__} is no Stable Diffusion UNet: FreeU has no place in it")
        self._unet, self._edit = unet, edit
        self._handles: list[RemovableHandle] = []
        self._backbone: Tensor | None = None
        self._ran = False

    def attach(self) -> None:
        """Set the hooks."""
        self._handles.append(self._unet.middle_block.register_forward_hook(self._keep_backbone))
        for block, width in zip(self._unet.output_blocks, skip_widths(self._unet)):
            self._handles.append(block.register_forward_pre_hook(self._hook(width)))
            self._handles.append(block.register_forward_hook(self._keep_backbone))

    def detach(self) -> None:
        """Remove the hooks, if any."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._backbone = None

    def require_ran(self) -> None:
        """Raise :class:`UnsupportedError` if no decoder block has run since the hooks were set."""
        if not self._ran:
            raise decoder_did_not_run("FreeU")

    def _keep_backbone(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self._backbone = output

    def _hook(self, skip_width: int) -> Callable[[nn.Module, tuple], tuple]:
        def edit_input(module: nn.Module, args: tuple) -> tuple:
            self._ran = True
            joined = args[0]
            places = joined.split([joined.shape[1] - skip_width, skip_width], dim=1)
            h, skip = places
            if self._backbone is not None and self._backbone.shape[2:] != joined.shape[2:]:
                h = self._backbone
            edited = self._edit(h, skip, self._unet.model_channels)
            if edited[0].shape[2:] != skip.shape[2:]:
                edited = (F.interpolate(edited[0], skip.shape[2:], mode="nearest"), edited[1])
            for place, features in zip(places, edited):  # nobody else has what the UNet has just concatenated
                if features is not place:
                    place.copy_(features)
            return args

        return edit_input


def skip_widths(unet: nn.Module) -> list[int]:
    """Return the number of skip channels of each decoder block, in the order in which the blocks run."""
    return [_channels_out(block) for block in reversed(unet.input_blocks)]


def _channels_out(block: nn.Module) -> int:
    return next(layer.out_channels for layer in reversed(list(block)) if hasattr(layer, "out_channels"))
