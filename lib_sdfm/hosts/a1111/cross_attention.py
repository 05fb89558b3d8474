"""The rows that attention sees on A1111, whose model calls have the conditional rows first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..attention import other_rows
from .recorded_calls import CallRecorder


class CondFirst:
    """Images of the rows of a UNet call: conditional rows first, then unconditional, then perturbed rows of the tail.

    :param images: image of each conditional row of the denoiser call, in order
    :param recorder: knows the rows of its model calls
    :param label: the technique's name, for messages
    :param own_rows: returns the host's rows in a run of the tail, ``None`` elsewhere
    """

    def __init__(
        self,
        images: Sequence[int],
        recorder: CallRecorder,
        label: str,
        own_rows: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._images, self._recorder, self._label, self._own_rows = list(images), recorder, label, own_rows

    def images(self, rows: int) -> list[int | None]:
        """Return the image of each row, ``None`` for unconditional ones.

        :raises UnsupportedError: if there are more or fewer rows than the model was called with
        """
        before, called = self._recorder.current_rows()
        cond = self._images[before : before + called]
        own = self._own_rows()
        own = rows if own is None else own
        repeats, left = divmod(rows - own, len(cond)) if cond else (0, rows - own)
        if left or own not in (0, called, len(cond)):
            raise other_rows(self._label, rows, called)
        return (cond + [None] * (own - len(cond)) if own else []) + cond * repeats


def images_of_prompts(cond: object) -> list[int]:
    """Return the image of each conditional row.

    :param cond: A1111's conditioning, with the prompts joined by AND per image
    """
    return [image for image, prompts in enumerate(cond.batch) for _ in prompts]


def images_by_latent(images: list[int], latents: Tensor, count: int) -> list[int]:
    """Return the image of each conditional row where another extension may have brought the rows into another order.

    :param images: image of each row as the host orders them; stays for a row whose latent is no image's
    :param latents: latents of all rows of a denoiser call, ``(N + count, C, H, W)``, the last of them one per image
    """
    rows, own = latents[:-count].flatten(1), latents[-count:].flatten(1)
    same = (rows[:, None] == own).all(2).tolist()
    return [row.index(True) if True in row else image for row, image in zip(same, images, strict=True)]
