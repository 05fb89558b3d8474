"""A clone of Forge's UnetPatcher with functions of ours, in place of the one that stood there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MODEL_OPTIONS = ("conditioning_modifiers", "sampler_post_cfg_function")
"""Lists in Forge's options; the others are lists of transformer patches."""


class PatchedUnet:
    """Stands in ``forge_objects.unet`` from when it is made until :meth:`detach`.

    :param objects: the model's ``forge_objects``
    :param functions: function by the list of Forge's options that it becomes the first of
    """

    def __init__(self, objects: Any, functions: dict[str, Callable[..., Any]]) -> None:
        self._objects, self._before = objects, objects.unet
        self._functions = functions
        self._clone = objects.unet.clone()
        self._clone.model_options["transformer_options"].setdefault("patches", {})
        for name, function in functions.items():
            owner = _owner(self._clone.model_options, name)
            owner[name] = [function, *owner.get(name, ())]
        objects.unet = self._clone

    @property
    def model(self) -> Any:
        """Forge's model with its predictor."""
        return self._clone.model

    @property
    def diffusion_model(self) -> Any:
        """The UNet."""
        return self._clone.model.diffusion_model

    @property
    def functions(self) -> list[Callable[..., Any]]:
        """Our functions."""
        return list(self._functions.values())

    def is_in(self, objects: Any) -> bool:
        """Whether our functions stand in the UNet of ``objects``: it is our clone, or another extension's clone of that."""
        options = objects.unet.model_options
        return all(function in _owner(options, name).get(name, ()) for name, function in self._functions.items())

    def detach(self) -> None:
        """Puts back what stood there, and takes our functions out of later clones; harmless when called again."""
        if self._objects is None:
            return
        for unet in (self._clone, self._objects.unet):
            for name, function in self._functions.items():
                _remove(_owner(unet.model_options, name), name, function)
        if self._objects.unet is self._clone:
            self._objects.unet = self._before
        self._objects = self._before = None


def _owner(options: dict[str, Any], name: str) -> dict[str, Any]:
    """The dictionary of Forge's options that has the list ``name``."""
    return options if name in MODEL_OPTIONS else options["transformer_options"].get("patches", {})


def _remove(owner: dict[str, Any], name: str, function: Callable[..., Any]) -> None:
    if function in owner.get(name, ()):
        owner[name] = [other for other in owner[name] if other is not function]
