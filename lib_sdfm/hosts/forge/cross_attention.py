"""The rows that attention on Forge sees, told by Forge's transformer options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .rows import images_of_rows, require_repeated, values_of


class MarkedRows:
    """Images of the rows of the next cross-attention, as Forge marks them in its options.

    A call of the UNet without the patch, by another extension, has no marks: its rows are left alone.
    """

    def __init__(self) -> None:
        self._options: dict[str, Any] | None = None

    def patch(self) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """Return the patch, for Forge's list ``attn2_patch``: a plain function, as Forge deep-copies its options."""

        def see(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
            require_repeated(context, extra)
            self._options = extra
            return n, context, values_of(context, value)

        return see

    def images(self, rows: int) -> list[int | None] | None:
        """Return the image of each row, ``None`` for unconditional ones; each equal part has one row per image.

        :raises UnsupportedError: if there are more or fewer rows than in the UNet
        """
        options, self._options = self._options, None
        return None if options is None else images_of_rows(rows, options)


def images_of_block(rows: int, kwargs: dict[str, Any]) -> list[int | None]:
    """Return the image of each row in a call of a transformer block, ``None`` for unconditional ones.

    :param kwargs: keyword arguments of the call, with Forge's options
    :raises UnsupportedError: if there are more or fewer rows than in the UNet
    """
    options = kwargs["transformer_options"]
    require_repeated(kwargs.get("context"), options)
    return images_of_rows(rows, options)
