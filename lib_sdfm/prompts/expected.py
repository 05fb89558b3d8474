"""The model calls of a sampler as the host sees them: the share of the run done before each."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .report import ExpectedCall

LATEST_TIMESTEP, TIMESTEPS = 999, 1000


def expected_calls(
    steps: Sequence[Sequence[float]], table: Tensor, in_timesteps: bool = False, total: int | None = None
) -> list[ExpectedCall]:
    """Return the model calls of a pass as the host sees them.

    :param steps: levels of the model calls of each step, see :mod:`lib_sdfm.sampling.call_levels`
    :param table: the model's noise levels, ascending
    :param in_timesteps: true if the levels are timesteps, false for noise levels
    :param total: number of calls that the host expects, if it counts calls; ``None`` if it uses the model's time
    """
    levels = [(step, level) for step, calls in enumerate(steps) for level in calls]
    calls = []
    for number, (step, level) in enumerate(levels):
        timestep = int(level) if in_timesteps else int((table - level).abs().argmin())  # A1111 cuts fractions off
        done = (LATEST_TIMESTEP - timestep) / TIMESTEPS if total is None else number / total
        calls.append(ExpectedCall(step, float(table[round(level)]) if in_timesteps else level, done))
    return calls
