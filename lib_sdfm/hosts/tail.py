"""Shared prefix and tail: perturbed predictions reuse what the main one has computed before the first perturbed attention.

Up to there a perturbed prediction of the conditional rows equals the main one: same latent, same time, same prompt. So
where the main prediction reaches that point, the middle block or a decoder block, the perturbed ones continue from its
features, before it continues itself. This keeps no features longer than the main prediction does anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..sampling.stages import Perturbation
from .attributes import InstanceAttribute
from .unet_layers import UnetLayers


@dataclass
class Features:
    """Features that one call of a UNet has computed where its tail begins.

    :param h: backbone features, ``(rows, C, H, W)``
    :param skips: outputs of the input blocks, in order
    :param rest: the other arguments of the next block, or of the last one: time embedding, context
    :param dtype: dtype of the UNet's input
    """

    h: Tensor
    skips: list[Tensor]
    rest: tuple
    dtype: torch.dtype

    @property
    def rows(self) -> int:
        return self.h.shape[0]


def chosen_rows(value: Any, parts: list[slice], rows: int) -> Any:
    """Return some rows of each tensor of ``rows`` rows, also in lists and tuples; a single part is not copied."""
    if isinstance(value, Tensor):
        if not value.ndim or value.shape[0] != rows:
            return value
        return value[parts[0]] if len(parts) == 1 else torch.cat([value[part] for part in parts])
    if isinstance(value, list | tuple):
        return type(value)(chosen_rows(item, parts, rows) for item in value)
    return value


class PrefixListener:
    """Hook that reports when a UNet's call reaches the tail, from :meth:`attach` to :meth:`detach`.

    It hooks the output of the block before the tail: by then that block is done, and the tail's blocks may be moved to the
    device and back (A1111's ``--lowvram`` does so before each block runs) as when the main prediction reaches them.

    :param unet: an LDM, SGM or Forge UNet
    :param start: where the tail begins: 0 is the middle block, ``n`` the decoder block ``n - 1``
    :param reached: called with the features there
    """

    def __init__(self, unet: nn.Module, start: int, reached: Callable[[Features], None]) -> None:
        self._unet, self._start, self._reached = unet, start, reached
        self._skips: list[Tensor] = []
        self._dtype = torch.float32
        self._in_tail = False
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Set the hooks."""
        self._handles.append(self._unet.register_forward_pre_hook(self._begin))
        self._handles += [block.register_forward_hook(self._keep_skip) for block in self._unet.input_blocks]
        blocks = (self._unet.input_blocks[-1], self._unet.middle_block, *self._unet.output_blocks)
        self._handles.append(blocks[self._start].register_forward_hook(self._reach_tail))

    def detach(self) -> None:
        """Remove the hooks, if any."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._skips = []

    def _begin(self, module: nn.Module, args: tuple) -> None:
        self._skips, self._dtype = [], args[0].dtype

    def _keep_skip(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self._skips.append(output)

    def _reach_tail(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        if self._in_tail or len(self._skips) != len(self._unet.input_blocks):
            return
        skips, self._skips, self._in_tail = self._skips, [], True
        try:
            self._reached(Features(output, skips, args[1:], self._dtype))
        finally:
            self._in_tail = False


@dataclass
class TailOutputs:
    """Outputs of the tail by call and prediction, taken in the same order.

    :param rows: rows of each call of the UNet
    :param answers: for each call with conditional rows, one output per prediction
    """

    rows: list[int] = field(default_factory=list)
    answers: list[tuple[Tensor, ...]] = field(default_factory=list)
    _part: int = 0
    _next: int = 0

    def begin(self, part: int) -> None:
        """Select the prediction whose outputs are taken next."""
        self._part, self._next = part, 0

    def take(self, count: int = 1) -> Tensor:
        """Return the outputs of the next calls."""
        answers = self.answers[self._next : self._next + count]
        self._next += count
        outputs = [answer[self._part] for answer in answers]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


class Tail:
    """Extra predictions of one denoiser call, branched off the main one: attached before it, read after it.

    All perturbations of the call run as one batch. Afterwards the host's own functions predict the conditional rows again,
    so that everything around the UNet is the host's; there the tail's outputs replace the UNet's own forward.

    :param unet: the diffusion model
    :param names: the techniques that perturb attention, one prediction for each
    :param start: where the tail begins, see :class:`PrefixListener`
    """

    def __init__(self, unet: UnetLayers, names: Iterable[str], start: int) -> None:
        self._layers, self._unet, self._names, self._start = unet, unet.unet, tuple(names), start
        self._listener = PrefixListener(self._unet, start, self._run_tail)
        self._outputs = TailOutputs()

    def attach(self) -> None:
        """Start listening to the main prediction."""
        self._listener.attach()

    def detach(self) -> None:
        """Remove everything; may be called again."""
        self._listener.detach()

    def predictions(self, predict: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return the model's outputs for the conditional rows, by the technique's name.

        :param predict: the host's prediction of the conditional rows
        """
        found: dict[str, Tensor] = {}
        forward = InstanceAttribute(self._unet, "forward", self._forward)
        try:
            for part, name in enumerate(self._names):
                self._outputs.begin(part)
                found[name] = predict()
        finally:
            forward.restore()
        return found

    def _forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Replace the UNet's forward."""
        raise NotImplementedError

    def _run_tail(self, features: Features) -> None:
        """Predict all perturbed rows of a call from its features."""
        raise NotImplementedError


def tail_start(unet: UnetLayers, perturbations: list[Perturbation], edits_skips: bool) -> int | None:
    """Return where the tail begins (see :class:`PrefixListener`); ``None`` if an input block is perturbed.

    :param edits_skips: true if decoder features are edited; then the whole decoder runs again, as an edit may depend on the
        block before
    """
    places = [_place(layer.section, layer.block) for p in perturbations for layer in unet.select(p.layers)]
    if None in places or not places:
        return None
    return 0 if edits_skips else min(places)


def _place(section: str, block: int) -> int | None:
    return {"input": None, "middle": 0, "output": block + 1}[section]


def is_plain(unet: nn.Module, wrappers: tuple[str, ...] = ()) -> bool:
    """Return True if a UNet runs its class' own forward, not replaced on the instance (ControlNet, compilers) or the class.

    :param wrappers: modules of the host that replace the class' forward
    """
    return "forward" not in vars(unet) and type(unet).forward.__module__ in (type(unet).__module__, *wrappers)


def parts_of(rows: int, count: int) -> Iterator[slice]:
    """Return the rows of each of ``count`` equal parts."""
    size = rows // count
    return (slice(i * size, (i + 1) * size) for i in range(count))
