"""The rows that attention on Forge sees, told by Forge's transformer options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .attention import UNCOND


class MarkedRows:
    """Images of the rows of the next cross-attention, as Forge marks them in its options.

    A call of the UNet without the patch, by another extension, has no marks: its rows are left alone.
    """

    def __init__(self) -> None:
        self._kinds: list[int] | None = None

    def patch(self) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """Return the patch, for Forge's list ``attn2_patch``: a plain function, as Forge deep-copies its options."""

        def see(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
            self._kinds = extra["cond_or_uncond"]
            return n, context, value

        return see

    def images(self, rows: int) -> list[int | None] | None:
        """Return the image of each row, ``None`` for unconditional ones; each equal part has one row per image."""
        kinds, self._kinds = self._kinds, None
        return None if kinds is None else _images_of(kinds, rows)


def images_of_block(rows: int, kwargs: dict[str, Any]) -> list[int | None]:
    """Return the image of each row in a call of a transformer block, ``None`` for unconditional ones.

    :param kwargs: keyword arguments of the call, with Forge's options
    """
    return _images_of(kwargs["transformer_options"]["cond_or_uncond"], rows)


def _images_of(kinds: list[int], rows: int) -> list[int | None]:
    size = rows // len(kinds)
    return [None if kind == UNCOND else image for kind in kinds for image in range(size)]
