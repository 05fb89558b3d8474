"""Perturbed self-attention by torch hooks on the attention modules of an LDM or SGM UNet.

Every attention optimisation of A1111 calls ``to_q``, ``to_v`` and ``to_out[0]`` as modules (some bypass ``to_out``
itself), so these are the places that work under all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import UnsupportedError
from ..sampling.layers import TransformerLayer, select_layers
from ..sampling.stages import Perturbation


@contextmanager
def perturbed_attention(unet: nn.Module, perturbation: Perturbation) -> Iterator[None]:
    """While it is open, the chosen self-attention layers of ``unet`` are perturbed. Leaves nothing behind.

    :raises UnsupportedError: if the model has no such layers, or if they did not run (a replaced UNet)
    """
    if not hasattr(unet, "middle_block"):
        raise UnsupportedError(f"{type(unet).__name__} is no Stable Diffusion UNet: perturbed attention has no place in it")
    hooks = [_LayerHooks(layer, perturbation) for layer in select_layers(unet, perturbation.layers)]
    try:
        for hook in hooks:
            hook.attach()
        yield
    finally:
        for hook in hooks:
            hook.detach()
    idle = [hook.layer.name for hook in hooks if not hook.ran]
    if idle:
        raise UnsupportedError(
            f"Attention of {', '.join(idle)} did not run: the UNet is replaced by another implementation (a TensorRT or "
            "compiled one, say), in which self-attention can't be perturbed. Switch either off"
        )


class _LayerHooks:
    """The hooks of one layer."""

    def __init__(self, layer: TransformerLayer, perturbation: Perturbation) -> None:
        self.layer, self.ran = layer, False
        self._perturbation = perturbation
        self._values: Tensor | None = None
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        attention, change = self.layer.module.attn1, self._perturbation
        if change.query is not None:
            self._handles.append(attention.to_q.register_forward_hook(self._replace_query))
        if change.identity:
            self._handles.append(attention.to_v.register_forward_hook(self._keep_values))
            project = attention.to_out[0]
            if change.project:
                self._handles.append(project.register_forward_pre_hook(self._give_values_to_projection))
            else:
                self._handles.append(project.register_forward_hook(self._give_values_instead))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._values = None

    def _replace_query(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        self.ran = True
        return self._perturbation.query(output)

    def _keep_values(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self._values = output

    def _give_values_to_projection(self, module: nn.Module, args: tuple) -> tuple:
        return (self._values_like(args[0]), *args[1:])

    def _give_values_instead(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        return self._values_like(output)

    def _values_like(self, wanted: Tensor) -> Tensor:
        """The values, one per query (ControlNet's reference mode appends keys and values of another picture)."""
        self.ran = True
        values = self._values[:, : wanted.shape[1]]
        if values.shape != wanted.shape:
            raise UnsupportedError(
                f"Attention of {self.layer.name} has values of shape {tuple(values.shape)} where {tuple(wanted.shape)} "
                "is needed: another extension changes it, and it can't be perturbed as well"
            )
        return values.to(wanted.dtype)
