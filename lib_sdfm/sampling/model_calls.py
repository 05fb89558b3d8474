"""At which levels a sampler calls the model, step by step: known from its schedule, without running it.

Each function gives, for the arguments of a sampler's function, one tuple per step: the levels of that step's model calls, in
what the sampler counts in (noise levels, or timesteps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from .step_spans import Arguments, Spans, StepSpan, levels_of

Calls = Callable[[Arguments], list[tuple[float, ...]]]
Further = Callable[[Sequence[float], int, StepSpan], tuple[float, ...]]
"""From the schedule, a step's index and its span to the levels of its model calls after the first."""

TIMESTEPS = 1000


def nothing(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """First order: one call."""
    return ()


def at_the_end(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """Heun: where the step ends, unless that is 0."""
    return (span.end,) if span.end else ()


def halfway(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """DPM2: halfway to the schedule's next level by the logarithm, unless that is 0."""
    return (math.sqrt(span.start * levels[i + 1]),) if levels[i + 1] else ()


def halfway_down(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """Our ancestral sampler of second order: halfway by the logarithm to where the step ends, unless that is 0."""
    return (math.sqrt(span.start * span.end),) if span.end else ()


def up_to_two_ahead(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """HeunPP2: at the next two levels of the schedule, without its last."""
    return tuple(levels[i + 1 : i + 3][: len(levels) - i - 2])


def one_step_each(spans: Spans, further: Further = nothing) -> Calls:
    """Return the calls of a sampler that makes one step per interval of the schedule.

    :param spans: its steps, each with a call where it starts
    :param further: the other calls of a step
    """

    def calls(arguments: Arguments) -> list[tuple[float, ...]]:
        levels = levels_of(arguments)
        return [(span.start, *further(levels, i, span)) for i, span in enumerate(spans(arguments))]

    return calls


def ancestral_calls(arguments: Arguments) -> list[tuple[float, ...]]:
    """Return the calls of k-diffusion's ancestral samplers of second order, whose lower levels are of single precision.

    At very long steps that decides whether there is a second call.
    """
    sigmas, eta = arguments["sigmas"].cpu(), arguments["eta"]
    start, end = sigmas[:-1], sigmas[1:]
    up = torch.minimum(end, eta * (end**2 * (start**2 - end**2) / start**2) ** 0.5) if eta else end * 0
    down = (end**2 - up**2) ** 0.5
    return [(a, math.sqrt(a * b)) if b else (a,) for a, b in zip(start.tolist(), down.tolist())]


def heun_calls(spans: Spans) -> Calls:
    """Return the calls of a sampler whose steps are Heun's: one at each end, without 0."""
    return lambda arguments: [(span.start, *at_the_end((), 0, span)) for span in spans(arguments)]


def dpm_fast_calls(spans: Spans) -> Calls:
    """Return the calls of DPM fast: steps of third order, then what is left of its ``n`` calls; thirds by the logarithm."""

    def calls(arguments: Arguments) -> list[tuple[float, ...]]:
        third, rest = divmod(arguments["n"], 3)
        orders = [3] * (third - 1) + [2, 1] if rest == 0 else [3] * third + [rest]
        steps = zip(spans(arguments), orders)
        return [tuple(start * (end / start) ** (k / order) for k in range(order)) for (start, end), order in steps]

    return calls


def ddim_calls(arguments: Arguments) -> list[tuple[float, ...]]:
    """From the last timestep to the second."""
    return [(timestep,) for timestep in arguments["timesteps"].tolist()[:0:-1]]


def plms_calls(arguments: Arguments) -> list[tuple[float, ...]]:
    """DDIM's, with a second call at the end of the first step."""
    calls, second = ddim_calls(arguments), arguments["timesteps"].tolist()[-2:-1]
    return [(*calls[0], *second), *calls[1:]] if calls else []


def unipc_calls(arguments: Arguments) -> list[tuple[float, ...]]:
    """A uniform grid, in single precision as in A1111: the host cuts fractions of timesteps off."""
    timesteps = arguments["timesteps"]
    first = float(timesteps[-1] / TIMESTEPS + 1 / TIMESTEPS) if arguments.get("is_img2img") else 1.0
    times = torch.linspace(first, 1 / TIMESTEPS, len(timesteps) + 1)
    return [(level,) for level in ((times - 1 / TIMESTEPS) * TIMESTEPS)[:-1].tolist()]
