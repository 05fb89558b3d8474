"""The levels at which a sampler calls the model, step by step, derived from its schedule without running it.

Each function returns, for the arguments of a sampler's function, one tuple per step: the levels of that step's model calls,
in the sampler's unit (noise levels or timesteps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from .step_spans import Arguments, Spans, StepSpan, levels_of

Calls = Callable[[Arguments], list[tuple[float, ...]]]
Further = Callable[[Sequence[float], int, StepSpan], tuple[float, ...]]
"""Function from the schedule, a step's index and its span to the levels of its model calls after the first."""

TIMESTEPS = 1000


def nothing(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """Return no further calls: first order."""
    return ()


def at_the_end(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """Return the end of the step, unless that is 0: Heun."""
    return (span.end,) if span.end else ()


def halfway(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """Return the logarithmic midpoint to the schedule's next level, unless that is 0: DPM2."""
    return (math.sqrt(span.start * levels[i + 1]),) if levels[i + 1] else ()


def halfway_down(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """Return the logarithmic midpoint to the end of the step, unless that is 0: our second-order ancestral sampler."""
    return (math.sqrt(span.start * span.end),) if span.end else ()


def up_to_two_ahead(levels: Sequence[float], i: int, span: StepSpan) -> tuple[float, ...]:
    """Return the next two levels of the schedule, without its last: HeunPP2."""
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
    """Return the calls of k-diffusion's second-order ancestral samplers, whose lower levels are in single precision.

    At very long steps the precision decides if there is a second call.
    """
    sigmas, eta = arguments["sigmas"].cpu(), arguments["eta"]
    start, end = sigmas[:-1], sigmas[1:]
    up = torch.minimum(end, eta * (end**2 * (start**2 - end**2) / start**2) ** 0.5) if eta else end * 0
    down = (end**2 - up**2) ** 0.5
    return [(a, math.sqrt(a * b)) if b else (a,) for a, b in zip(start.tolist(), down.tolist())]


def heun_calls(spans: Spans) -> Calls:
    """Return the calls of a sampler with Heun's steps: one at each end, without 0."""
    return lambda arguments: [(span.start, *at_the_end((), 0, span)) for span in spans(arguments)]


def dpm_fast_calls(spans: Spans) -> Calls:
    """Return the calls of DPM fast: third-order steps, then the rest of its ``n`` calls; logarithmic thirds."""

    def calls(arguments: Arguments) -> list[tuple[float, ...]]:
        third, rest = divmod(arguments["n"], 3)
        orders = [3] * (third - 1) + [2, 1] if rest == 0 else [3] * third + [rest]
        steps = zip(spans(arguments), orders)
        return [tuple(start * (end / start) ** (k / order) for k in range(order)) for (start, end), order in steps]

    return calls


def ddim_calls(arguments: Arguments) -> list[tuple[float, ...]]:
    """Return the calls of DDIM: from the last timestep to the second."""
    return [(timestep,) for timestep in arguments["timesteps"].tolist()[:0:-1]]


def plms_calls(arguments: Arguments) -> list[tuple[float, ...]]:
    """Return the calls of PLMS: DDIM's, with a second call at the end of the first step."""
    calls, second = ddim_calls(arguments), arguments["timesteps"].tolist()[-2:-1]
    return [(*calls[0], *second), *calls[1:]] if calls else []


def unipc_calls(arguments: Arguments) -> list[tuple[float, ...]]:
    """Return the calls of UniPC: a uniform grid, in single precision as in A1111; the host truncates fractions of timesteps."""
    timesteps = arguments["timesteps"]
    first = float(timesteps[-1] / TIMESTEPS + 1 / TIMESTEPS) if arguments.get("is_img2img") else 1.0
    times = torch.linspace(first, 1 / TIMESTEPS, len(timesteps) + 1)
    return [(level,) for level in ((times - 1 / TIMESTEPS) * TIMESTEPS)[:-1].tolist()]
