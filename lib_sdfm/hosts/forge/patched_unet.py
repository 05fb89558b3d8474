"""A clone of Forge's UnetPatcher with our functions, used in place of the original."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MODEL_OPTIONS = ("conditioning_modifiers", "sampler_post_cfg_function")
"""Lists in Forge's options; the others are lists of transformer patches."""
LAST = ("conditioning_modifiers", "attn2_patch")
"""Lists that we end. Modifiers of others may call the model (ControlNet's reference modes predict another picture), and who is
last in cross-attention can leave its values to be made of the context, of which others make more (NegPiP)."""


class PatchedUnet:
    """Patched clone in ``forge_objects.unet``, from construction until :meth:`detach`.

    :param objects: the model's ``forge_objects``
    :param functions: function by the name of the list in Forge's options in which it is put, first except in :data:`LAST`
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
        self.come_last(objects)

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
        """Return True if the UNet of ``objects`` has our functions: it is our clone, or another extension's clone of it."""
        options = objects.unet.model_options
        return all(function in _owner(options, name).get(name, ()) for name, function in self._functions.items())

    def come_last(self, objects: Any) -> None:
        """Move our functions to the end of :data:`LAST` in the UNet of ``objects``, where others may have added theirs."""
        for name in LAST:
            owner, ours = _owner(objects.unet.model_options, name), self._functions.get(name)
            if ours is not None and owner[name][-1] is not ours:
                owner[name] = [*(other for other in owner[name] if other is not ours), ours]

    def detach(self) -> None:
        """Restore the original UNet, and remove our functions from later clones; may be called again."""
        if self._objects is None:
            return
        for unet in (self._clone, self._objects.unet):
            for name, function in self._functions.items():
                _remove(_owner(unet.model_options, name), name, function)
        if self._objects.unet is self._clone:
            self._objects.unet = self._before
        self._objects = self._before = None


def _owner(options: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the dictionary of Forge's options that has the list ``name``."""
    return options if name in MODEL_OPTIONS else options["transformer_options"].get("patches", {})


def _remove(owner: dict[str, Any], name: str, function: Callable[..., Any]) -> None:
    if function in owner.get(name, ()):
        owner[name] = [other for other in owner[name] if other is not function]
