"""Edits of the inputs of the decoder blocks of an LDM or SGM UNet, by hooks on the blocks.

The UNet calls each output block with backbone and skip features already concatenated; the backbone's are the output of the
block before, whatever that is.
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
            raise UnsupportedError(f"FreeU: this model is not a Stable Diffusion UNet ({type(unet).__name__}). Turn it off")
        self._unet, self._edit = unet, edit
        self._handles: list[RemovableHandle] = []
        self._backbone: Tensor | None = None
        self._ran = False

    def attach(self) -> None:
        """Set the hooks."""
        self._handles.append(self._unet.middle_block.register_forward_hook(self._keep_backbone))
        for block in self._unet.output_blocks:
            self._handles.append(block.register_forward_pre_hook(self._edit_input))
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

    def _edit_input(self, module: nn.Module, args: tuple) -> tuple:
        joined, backbone = args[0], self._backbone
        if backbone is None:
            raise decoder_did_not_run("FreeU")
        self._ran = True
        places = joined.split([backbone.shape[1], joined.shape[1] - backbone.shape[1]], dim=1)
        h, skip = places
        if backbone.shape[2:] != joined.shape[2:]:
            h = backbone
        edited = self._edit(h, skip, self._unet.model_channels)
        if edited[0].shape[2:] != skip.shape[2:]:
            edited = (F.interpolate(edited[0], skip.shape[2:], mode="nearest"), edited[1])
        for place, features in zip(places, edited):  # nobody else has what the UNet has just concatenated
            if features is not place:
                place.copy_(features)
        return args
