"""Settings that are found while sampling, in the generation parameters: one value per image of a job."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any


class PerImage(list):
    """The value of a key for each image of a job; the host writes an image's own, and nothing where it is ``None``.

    :param p: the host's processing object
    """

    def __init__(self, p: Any) -> None:
        super().__init__([None] * (p.n_iter * p.batch_size))
        self._job, self._batch = weakref.ref(p), p.batch_size

    def __getitem__(self, place: Any) -> Any:
        """Return the value of an image, by its place in the batch that the host has just made.

        Places after the end of the batch belong to images that another extension has added to it.
        """
        p = self._job()
        if p is None or not isinstance(place, int):
            return super().__getitem__(place)
        return super().__getitem__(p.iteration * self._batch + place) if place < self._batch else None

    def belongs_to(self, p: Any) -> bool:
        """Return True if it holds the values of this job's images, not of one in whose middle this one runs (ADetailer)."""
        return self._job() is p


def place_of(p: Any, key: str) -> PerImage:
    """Return what to write under a key before the values are known: the list of the job's earlier batches, or a new one."""
    present = p.extra_generation_params.get(key)
    return present if isinstance(present, PerImage) else PerImage(p)


def put_found(p: Any, found: Mapping[str, Sequence[Any]]) -> None:
    """Write what a batch has found, and drop the keys under which nothing was found so far.

    :param found: values of the batch's images, by key
    """
    first = p.iteration * p.batch_size
    for key, values in found.items():
        place = p.extra_generation_params.get(key)
        if isinstance(place, PerImage) and place.belongs_to(p):
            place[first : first + len(values)] = values
    for key, place in list(p.extra_generation_params.items()):
        if isinstance(place, PerImage) and place.belongs_to(p) and all(value is None for value in place):
            del p.extra_generation_params[key]
