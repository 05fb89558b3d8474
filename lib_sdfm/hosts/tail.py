"""Shared prefix and tail: perturbed predictions reuse what the main one has computed before the first perturbed attention.

Up to there a perturbed prediction of the conditional rows equals the main one: same latent, same time, same prompt. So
where the main prediction reaches that point, the middle block or a decoder block, its rows and the perturbed ones go on
from the same features, in one batch if memory allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..sampling.stages import Perturbation
from .attributes import InstanceAttribute
from .run import Together
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

    def skips_from(self, start: int, last: bool) -> list[Tensor]:
        """Return the skip features of the tail's decoder blocks, the first block's at the end.

        :param start: where the tail begins, see :func:`features_at_tail`
        :param last: true if nobody needs them afterwards: taken from this list, they are free
        """
        skips = self.skips if last else list(self.skips)
        del skips[len(skips) - max(start - 1, 0) :]
        return skips


def chosen_rows(value: Any, parts: list[slice], rows: int) -> Any:
    """Return some rows of each tensor of ``rows`` rows, also in lists and tuples; a single part is not copied."""
    if isinstance(value, Tensor):
        if not value.ndim or value.shape[0] != rows:
            return value
        return value[parts[0]] if len(parts) == 1 else torch.cat([value[part] for part in parts])
    if isinstance(value, list | tuple):
        return type(value)(chosen_rows(item, parts, rows) for item in value)
    return value


class TailReached(BaseException):
    """Leaves a UNet's forward where its tail begins. It derives from ``BaseException``, so that nobody on the way handles it.

    :param features: what has been computed up to there
    """

    def __init__(self, features: Features) -> None:
        self.features = features


def whole_block(block: nn.Module) -> nn.Module:
    """Return the module that ends a block: the block itself, where the UNet's forward calls it as a module."""
    return block


def features_at_tail(
    unet: nn.Module,
    start: int,
    forward: Callable[..., Tensor],
    args: tuple,
    kwargs: dict[str, Any],
    end_of: Callable[[nn.Module], nn.Module] = whole_block,
) -> Features | Tensor:
    """Call a UNet's forward and leave it where the tail begins.

    The block before the tail is done by then, and none of the tail's has begun: blocks that are moved to the device before
    they run and away again (A1111's ``--lowvram``) are where their own call brings them.

    :param unet: an LDM, SGM or Forge UNet
    :param start: where the tail begins: 0 is the middle block, ``n`` the decoder block ``n - 1``
    :param forward: the UNet's own forward, called with ``args`` and ``kwargs``
    :param end_of: returns the module whose output is that of a block, from the block
    :return: the features there; the forward's output if it never called these modules
    """
    skips: list[Tensor] = []

    def keep_skip(module: nn.Module, args: tuple, output: Tensor) -> None:
        skips.append(output)

    def leave(module: nn.Module, given: tuple, output: Tensor) -> None:
        if len(skips) == len(unet.input_blocks):
            raise TailReached(Features(output, skips, given[1:], args[0].dtype))

    last = (unet.input_blocks[-1], unet.middle_block, *unet.output_blocks)[start]
    handles = [end_of(block).register_forward_hook(keep_skip) for block in unet.input_blocks]
    handles.append(end_of(last).register_forward_hook(leave))
    try:
        return forward(*args, **kwargs)
    except TailReached as reached:
        reached.__traceback__ = None  # its frames hold all features
        return reached.features
    finally:
        for handle in handles:
            handle.remove()


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

    While attached, the host's call of the UNet ends where the tail begins; the tail then runs for the host's rows and for the
    perturbed ones, together or apart, and the host gets its own. Afterwards the host's own functions predict the conditional
    rows again, so that everything around the UNet is the host's; there the tail's outputs replace the UNet's own forward.

    :param unet: the diffusion model
    :param names: the techniques that perturb attention, one prediction for each
    :param start: where the tail begins, see :func:`features_at_tail`
    :param together: decides if all rows run together
    """

    def __init__(self, unet: UnetLayers, names: Iterable[str], start: int, together: Together) -> None:
        self._layers, self._unet, self._names, self._start = unet, unet.unet, tuple(names), start
        self._together = together
        self._outputs = TailOutputs()
        self._own: Callable[..., Tensor] = self._unet.forward
        self._attached: InstanceAttribute | None = None
        self.own_rows: int | None = None
        """While the tail runs, the number of the host's rows in it, which come first; else ``None``."""

    def attach(self) -> None:
        """Take over the UNet's forward, once: a host may announce a call twice."""
        if self._attached is not None:
            return
        self._own = self._unet.forward
        self._attached = InstanceAttribute(self._unet, "forward", self._main_forward)

    def detach(self) -> None:
        """Give the UNet its forward back; may be called again."""
        attached, self._attached = self._attached, None
        if attached is not None:
            attached.restore()

    def predictions(self, predict: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return the model's outputs for the conditional rows, by the technique's name.

        :param predict: the host's prediction of the conditional rows
        """
        found: dict[str, Tensor] = {}
        forward = InstanceAttribute(self._unet, "forward", self._answer)
        try:
            for part, name in enumerate(self._names):
                self._outputs.begin(part)
                found[name] = predict()
        finally:
            forward.restore()
        return found

    def _main_forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Replace the UNet's forward in the main prediction."""
        rows = args[0].shape[0]
        parts = self._cond_parts(rows, kwargs) if self._attached is not None else []
        if not parts:
            self._outputs.rows.append(rows)
            return self._own(*args, **kwargs)
        reached = self._reach(args, kwargs)
        if isinstance(reached, Tensor):
            return reached
        if reached.rows != rows:  # somebody else splits the call: the host gets it as it is
            return self._own(*args, **kwargs)
        self._outputs.rows.append(rows)
        return self._finish(reached, parts)

    def _reach(self, args: tuple, kwargs: dict[str, Any]) -> Features | Tensor:
        """Return what the UNet's own forward has computed where the tail begins, or its output if it was not left there."""
        return features_at_tail(self._unet, self._start, self._own, args, kwargs)

    def _finish(self, features: Features, parts: list[slice]) -> Tensor:
        """Return the UNet's output for the host's rows, and keep those for the perturbed ones.

        :param parts: the conditional rows, in equal parts
        """
        extra = parts * len(self._names)
        images = parts[0].stop - parts[0].start
        outputs = (
            self._all_rows(features, extra) if self._together.allows(images, images * len(extra), features.skips) else None
        )
        if outputs is None:
            perturbed = self._part_of_run(features, 0, extra)
            main = self._part_of_run(features, features.rows, [])
        else:
            main, perturbed = outputs[: features.rows], outputs[features.rows :]
        prompts = [part.chunk(len(parts)) for part in perturbed.chunk(len(self._names))]
        self._outputs.answers += [tuple(answers) for answers in zip(*prompts)]
        return main

    def _all_rows(self, features: Features, extra: list[slice]) -> Tensor | None:
        """Return the tail's output for all rows, ``None`` if the device is out of memory."""
        try:
            return self._part_of_run(features, features.rows, extra)
        except torch.cuda.OutOfMemoryError:
            pass  # what it holds is free before the rows run apart
        self._together.note_out_of_memory()
        return None

    def _part_of_run(self, features: Features, own: int, extra: list[slice]) -> Tensor:
        parts = [slice(0, own), *extra] if own else extra
        self.own_rows = own
        try:
            return self._run(features, own, parts)
        finally:
            self.own_rows = None

    def _perturbed_part(self, place: int, rows: int) -> slice:
        """Return the rows of one perturbed prediction in a run of the tail, none if there are none."""
        own = self.own_rows or 0
        size = (rows - own) // len(self._names)
        return slice(own + place * size, own + (place + 1) * size)

    def _cond_parts(self, rows: int, kwargs: dict[str, Any]) -> list[slice]:
        """Return the conditional rows of a call of the UNet in equal parts, empty if it has none."""
        raise NotImplementedError

    def _answer(self, *args: Any, **kwargs: Any) -> Tensor:
        """Replace the UNet's forward in the prediction of conditional rows: the next outputs of the tail."""
        raise NotImplementedError

    def _run(self, features: Features, own: int, parts: list[slice]) -> Tensor:
        """Return the UNet's output from the tail on.

        :param own: number of the host's rows among them, the first ones
        :param parts: the rows, from those of ``features``
        """
        raise NotImplementedError


def in_the_tail(unet: UnetLayers, changes: dict[str, Perturbation]) -> dict[str, Perturbation]:
    """Return the changes that leave the encoder as it is: their predictions can share the main one's features."""

    def fits(change: Perturbation) -> bool:
        return change.tokens is None and tail_start(unet, [change], edits_skips=False) is not None

    return {name: change for name, change in changes.items() if fits(change)}


def tail_start(unet: UnetLayers, perturbations: list[Perturbation], edits_skips: bool) -> int | None:
    """Return where the tail begins (see :func:`features_at_tail`); ``None`` if an input block is perturbed.

    :param edits_skips: true if decoder features are edited; then the whole decoder runs again, as an edit may depend on the
        block before
    """
    places = [_place(layer.section, layer.block) for p in perturbations for layer in unet.select(p.layers)]
    if None in places or not places:
        return None
    return 0 if edits_skips else min(places)


def _place(section: str, block: int) -> int | None:
    return {"input": None, "middle": 0, "output": block + 1}[section]


def parts_of(rows: int, count: int) -> Iterator[slice]:
    """Return the rows of each of ``count`` equal parts."""
    size = rows // count
    return (slice(i * size, (i + 1) * size) for i in range(count))
