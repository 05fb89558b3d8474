"""What a host will think of the model calls of a sampler: how much of the run lies behind each."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .report import ExpectedCall

LATEST_TIMESTEP, TIMESTEPS = 999, 1000


def expected_calls(
    steps: Sequence[Sequence[float]], table: Tensor, in_timesteps: bool = False, total: int | None = None
) -> list[ExpectedCall]:
    """Return the model calls of a pass as the host sees them.

    :param steps: levels of the model calls of each step, see :mod:`lib_sdfm.sampling.model_calls`
    :param table: the model's noise levels, ascending
    :param in_timesteps: the levels are timesteps; else noise levels
    :param total: calls that the host expects, where it goes by calls; ``None``: it goes by the model's time
    """
    levels = [(step, level) for step, calls in enumerate(steps) for level in calls]
    calls = []
    for number, (step, level) in enumerate(levels):
        timestep = int(level) if in_timesteps else int((table - level).abs().argmin())
        done = (LATEST_TIMESTEP - timestep) / TIMESTEPS if total is None else number / total
        calls.append(ExpectedCall(step, float(table[timestep]) if in_timesteps else level, done))
    return calls
