"""Cross-attention edited in conditional rows, given attention of the same queries to a negative prompt, on either host.

The negative prompt's encoding is the host's where it has one.

Every attention implementation of the hosts calls ``to_q`` and ``to_out[0]`` as modules: hooks on these see the queries and
what attention gives before its projection.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import UnsupportedError
from ..ops.nag import attention
from ..sampling.layers import TransformerLayer, transformer_layers
from ..sampling.model_call import ModelCall
from ..sampling.plan import Plan, cross_editor
from ..sampling.stages import Stages
from .attributes import InstanceAttribute, undone_on_failure
from .unet_layers import UnetLayers

Images = Callable[[int], Sequence[int | None] | None]
"""Function from the number of rows of a UNet call to the image of each: ``None`` for unconditional rows, or for all of them if
none is to be edited."""
Edit = Callable[[Tensor, Tensor], Tensor]
"""Function from attention to the prompt and to the negative prompt, each ``(rows, tokens, channels)``, to what replaces it."""


@dataclass(frozen=True)
class TextHost:
    """The parts of a host that encode a text and attend to it.

    :param encode: the host's ``get_learned_conditioning``: from a model, texts and steps to the schedule of each text
    :param contexts: from the encoding of texts ``(rows, tokens, channels)`` to what keys and values are made of (A1111's
        hypernetworks change it)
    :param attend: from query, key, value, each ``(rows, tokens, channels)``, and the number of heads to attention
    """

    encode: Callable[..., Any]
    contexts: Callable[[Tensor], tuple[Tensor, Tensor]] = lambda context: (context, context)
    attend: Callable[[Tensor, Tensor, Tensor, int], Tensor] = attention


class NegativePrompt:
    """The negative prompt of a pass for the loaded model, from construction until :meth:`detach`.

    The host's encoding is used if it has one. Encoded here are: another text than the job's, the negative prompt that Forge
    leaves out at CFG scale 1, and an empty one on SDXL, for which the hosts give zeros: attention to these is no attention to a
    text. A refiner has an encoder of its own, so all is encoded again where the host does that.

    :param text: the text, empty for the job's negative prompt
    :param p: the host's processing object
    :param host: encodes texts
    """

    def __init__(self, text: str, p: Any, host: TextHost) -> None:
        self._text, self._p, self._host = text, p, host
        self._own: Sequence[Any] | None = None
        self._attribute = InstanceAttribute(p, "setup_conds", self._followed(p.setup_conds))
        with undone_on_failure(self.detach):
            self._encode()

    def detach(self) -> None:
        """Restore everything; may be called again."""
        self._attribute.restore()
        self._own = None

    def at(self, step: int) -> list[Tensor]:
        """Return the encoding of each image's negative prompt, ``(tokens, channels)``, in one of the host's steps.

        Where neither text nor step changes it is the same object.
        """
        schedules = self._p.get_conds()[1] if self._own is None else self._own
        return [_encoding_at(schedule, step) for schedule in schedules]

    def _followed(self, setup_conds: Callable[[], Any]) -> Callable[[], Any]:
        def setup() -> Any:
            result = setup_conds()
            self._encode()
            return result

        return setup

    def _encode(self) -> None:
        p, hires = self._p, bool(getattr(self._p, "is_hr_pass", False))
        given = list(p.hr_negative_prompts if hires else p.negative_prompts)
        texts = [self._text] * len(given) if self._text else given
        zeroed = "" in texts and bool(p.sd_model.is_sdxl)
        if not self._text and not zeroed and p.get_conds()[1] is not None:
            self._own = None
            return
        steps = p.sampler.config.total_steps(getattr(p, "hr_second_pass_steps", 0) or p.steps) if hires else None
        networks = p.hr_extra_network_data if hires else p.extra_network_data
        self._own = p.get_conds_with_caching(self._host.encode, texts, p.firstpass_steps, [[None, None]], networks, steps)


def _encoding_at(schedule: Sequence[Any], step: int) -> Tensor:
    """Return the encoding that prompt editing gives in a step: the first that ends there or later, as the hosts choose."""
    chosen = next((entry for entry in schedule if step <= entry.end_at_step), schedule[0])
    return chosen.cond["crossattn"] if isinstance(chosen.cond, dict) else chosen.cond


class CrossAttention:
    """The cross-attention layers of a UNet, edited between :meth:`attach` and :meth:`detach`.

    :param unet: the diffusion model
    :param label: the technique's name, for messages
    :param host: attends to the negative prompt
    :raises UnsupportedError: if the model has no such layers
    """

    def __init__(self, unet: UnetLayers, label: str, host: TextHost) -> None:
        unet.require_unet(label)
        self.unet, self._label = unet, label
        layers = (layer for layer in transformer_layers(unet.unet) if getattr(layer.module, "attn2", None) is not None)
        self._layers = [_LayerHooks(layer, label, host) for layer in layers]

    def attach(self, edit: Edit, negatives: Sequence[Tensor], images: Images) -> None:
        """Set the hooks.

        :param negatives: encoded negative prompt of each image, ``(tokens, channels)``; its keys and values are kept as long as
            it is the same object
        :param images: gives the image of each row of a call
        """
        for layer in self._layers:
            layer.attach(edit, negatives, images)

    def detach(self) -> None:
        """Remove the hooks, if any."""
        for layer in self._layers:
            layer.detach()

    def require_ran(self) -> None:
        """Raise :class:`UnsupportedError` if no layer has run since the hooks were set."""
        if not any(layer.ran for layer in self._layers):
            raise UnsupportedError(
                f"{self._label}: the UNet's cross-attention did not run: another implementation replaces the UNet (TensorRT or "
                "a compiled one, for example), and its cross-attention can't be changed. Turn off one of them"
            )


class _LayerHooks:
    """The hooks of one layer, and keys and values of the current negative prompts."""

    def __init__(self, layer: TransformerLayer, label: str, host: TextHost) -> None:
        self.ran = False
        self._layer, self._label, self._host = layer, label, host
        self._attention = layer.module.attn2
        self._edit: Edit | None = None
        self._negatives: Sequence[Tensor] = ()
        self._images: Images | None = None
        self._query: tuple[Tensor, torch.dtype] | None = None
        self._kept: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self._handles: list[RemovableHandle] = []

    def attach(self, edit: Edit, negatives: Sequence[Tensor], images: Images) -> None:
        self.ran, self._edit, self._negatives, self._images = False, edit, negatives, images
        current = {id(negative) for negative in negatives}
        self._kept = {key: kept for key, kept in self._kept.items() if key in current}
        self._handles.append(self._attention.to_q.register_forward_hook(self._see_query))
        self._handles.append(self._attention.to_out[0].register_forward_pre_hook(self._edit_output))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._query = None

    def _see_query(self, module: nn.Module, args: tuple, output: Tensor) -> None:
        self._query = output, args[0].dtype

    def _edit_output(self, module: nn.Module, args: tuple) -> tuple | None:
        seen, self._query = self._query, None
        if seen is None:
            return None
        (query, dtype), positive = seen, args[0]
        self._require_like(query, positive)
        images = self._images(len(positive))
        self.ran = True
        if images is None:
            return None
        parts = []
        for rows, negative in self._runs(images):
            part = positive[rows]
            parts.append(part if negative is None else self._edit(part, self._attend(query[rows], negative, dtype)))
        return (parts[0] if len(parts) == 1 else torch.cat(parts), *args[1:])

    def _require_like(self, query: Tensor, positive: Tensor) -> None:
        if query.shape != positive.shape:
            raise UnsupportedError(
                f"{self._label}: cross-attention of {self._layer.name} gives {tuple(positive.shape)} for queries of "
                f"{tuple(query.shape)}: another extension changes it. Turn off one of them"
            )

    def _runs(self, images: Sequence[int | None]) -> Iterator[tuple[slice, Tensor | None]]:
        """Return consecutive rows with the same negative prompt, ``None`` for unconditional rows: indices would be copied to
        the GPU, which waits for them."""
        of_rows = [None if image is None else self._negatives[image] for image in images]
        first = 0
        for _, run in groupby(of_rows, key=id):
            same = list(run)
            yield slice(first, first + len(same)), same[0]
            first += len(same)

    def _attend(self, query: Tensor, negative: Tensor, dtype: torch.dtype) -> Tensor:
        """Return attention of queries ``(rows, tokens, channels)`` to a negative prompt.

        :param dtype: type in which the layer is given its input
        """
        key, value = self._keys_and_values(negative, query.device, dtype)
        key, value = (part.to(query.dtype).expand(len(query), -1, -1).contiguous() for part in (key, value))
        return self._host.attend(query, key, value, self._attention.heads)

    def _keys_and_values(self, negative: Tensor, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if id(negative) not in self._kept:
            for_keys, for_values = self._host.contexts(negative[None].to(device, dtype))
            self._kept[id(negative)] = negative, self._attention.to_k(for_keys), self._attention.to_v(for_values)
        return self._kept[id(negative)][1:]


class CrossGuidance:
    """The technique of a pass that edits cross-attention, if any, and the negative prompt that it compares with.

    :param plan: the techniques
    :param p: the host's processing object
    :param host: encodes the negative prompt and attends to it
    """

    def __init__(self, plan: Plan, p: Any, host: TextHost) -> None:
        self.technique = cross_editor(plan.working(bool(getattr(p, "is_hr_pass", False))))
        self._host = host
        self._negative = None if self.technique is None else NegativePrompt(self.technique.negative_text(), p, host)
        self._attention: CrossAttention | None = None
        self._attached = False

    def attach(self, active: Sequence[Stages], call: ModelCall, unet: UnetLayers, step: int, images: Images) -> None:
        """Set the hooks for one call of the denoiser, if the technique is active in it.

        :param active: the techniques that are
        :param step: the host's step, by which prompt editing goes
        :param images: gives the image of each row of a call
        """
        self.detach_call()
        if self.technique is None or self.technique not in active:
            return
        if self._attention is None or self._attention.unet is not unet:
            self._attention = CrossAttention(unet, self.technique.label, self._host)
        self._attached = True
        edit = functools.partial(self.technique.cross_attention, call=call)
        self._attention.attach(edit, self._negative.at(step), images)

    def require_ran(self) -> None:
        """Raise :class:`UnsupportedError` if the hooks were set for this call and none has run."""
        if self._attached:
            self._attention.require_ran()

    def detach_call(self) -> None:
        """Remove the hooks, if any."""
        self._attached = False
        if self._attention is not None:
            self._attention.detach()

    def detach(self) -> None:
        """Restore everything; may be called again."""
        self.detach_call()
        self._attention = None
        if self._negative is not None:
            self._negative.detach()
