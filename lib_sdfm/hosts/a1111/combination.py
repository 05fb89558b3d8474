"""Other extensions' replacements of ``combine_denoised``, in which A1111 combines the prompts' predictions."""

from __future__ import annotations

from typing import Any

from ..unet_layers import owner_of


def who_combines(denoiser: Any) -> str | None:
    """Return who has replaced ``combine_denoised`` of a CFG denoiser, on the object or in a subclass; ``None`` if nobody has.

    :param denoiser: without our own replacement
    """
    own, method = vars(denoiser).get("combine_denoised"), type(denoiser).combine_denoised
    if own is not None:
        return owner_of(own)
    return None if method.__module__ == type(denoiser).forward.__module__ else owner_of(method)
