"""Perturbed self-attention by torch hooks on the attention modules of an LDM or SGM UNet.

Every attention optimisation of A1111 calls ``to_q``, ``to_v`` and ``to_out[0]`` as modules (some bypass ``to_out``
itself), so hooks on these work with all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...errors import UnsupportedError
from ...sampling.layers import TransformerLayer
from ...sampling.stages import Perturbation
from ..attention import require_layers_ran, values_like, with_rows
from ..unet_layers import UnetLayers

Rows = Callable[[int], slice]
"""Function from the number of rows of a call to the rows that are perturbed; ``slice`` means all."""


class PerturbedAttention:
    """Selected self-attention layers of a UNet, perturbed between :meth:`attach` and :meth:`detach`.

    :param unet: the diffusion model
    :param perturbation: how attention changes, and in which layers
    :param rows: returns the perturbed rows for the number of rows of the current call
    :raises UnsupportedError: if the model has no such layers
    """

    def __init__(self, unet: UnetLayers, perturbation: Perturbation, rows: Rows = slice) -> None:
        self._hooks = [_LayerHooks(layer, perturbation, rows) for layer in unet.select(perturbation.layers)]

    def attach(self) -> None:
        """Set the hooks."""
        for hook in self._hooks:
            hook.attach()

    def detach(self) -> None:
        """Remove the hooks, if any."""
        for hook in self._hooks:
            hook.detach()

    def require_ran(self) -> None:
        """Raise :class:`UnsupportedError` if a layer has not run since it was attached."""
        require_layers_ran(hook.layer.name for hook in self._hooks if not hook.ran)

    def __enter__(self) -> PerturbedAttention:
        self.attach()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self.detach()
        if error is None:
            self.require_ran()


class _LayerHooks:
    """The hooks of one layer."""

    def __init__(self, layer: TransformerLayer, perturbation: Perturbation, rows: Rows) -> None:
        self.layer, self.ran = layer, False
        self._perturbation, self._rows = perturbation, rows
        self._map_shape = (0, 0, 0)
        self._values: Tensor | None = None
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        attention, change = self.layer.module.attn1, self._perturbation
        if change.query is not None:
            self._handles.append(self.layer.spatial.register_forward_pre_hook(self._see_map))
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

    def _see_map(self, module: nn.Module, args: tuple) -> None:
        rows, _, height, width = args[0].shape
        self._map_shape = (rows, height, width)

    def _replace_query(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        rows, height, width = self._map_shape
        if len(output) != rows and self._rows is slice:
            rows = len(output)  # ControlNet's reference modes call attention once more, for the unconditional rows alone
        if output.shape[:2] != (rows, height * width):
            raise UnsupportedError(
                f"Attention of {self.layer.name} sees {output.shape[0]} maps of {output.shape[1]} tokens instead of {rows} "
                f"of {height}x{width}: HyperTile or token merging acts there. Turn that off, or choose other layers"
            )
        self.ran = True
        chosen = self._rows(rows)
        queries = output[chosen]
        return with_rows(output, chosen, self._perturbation.query(queries, (height, width))) if len(queries) else output

    def _keep_values(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self._values = output

    def _give_values_to_projection(self, module: nn.Module, args: tuple) -> tuple:
        return (self._values_like(args[0]), *args[1:])

    def _give_values_instead(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        return self._values_like(output)

    def _values_like(self, wanted: Tensor) -> Tensor:
        self.ran = True
        chosen = self._rows(wanted.shape[0])
        return with_rows(wanted, chosen, values_like(self._values, wanted, self.layer.name)[chosen])
