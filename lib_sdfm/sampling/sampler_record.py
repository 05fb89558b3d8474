"""Columns of the table of samplers in :mod:`lib_sdfm.sampling.samplers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .call_levels import Calls
from .step_spans import Spans

EXACT, APPROXIMATE = "exact", "approximate"
AFTER_FIRST_CALL, AFTER_LAST_CALL, ONE_CALL_AHEAD = "after first call", "after last call", "one call ahead"
CFG_OF_LAMBDA_1 = 12.5
"""CFG++'s unit: lambda from 0 to 1 corresponds to CFG from 0 to 12.5 (arXiv 2406.08070)."""
RENOISES_ITSELF = (
    "renoises with the unconditional prediction itself. Turn off the technique CFG++ and use the CFG scale as lambda, or "
    "choose the plain sampler"
)
CHOOSES_ITS_STEPS = "chooses its steps while it runs"


@dataclass(frozen=True)
class FlowRun:
    """Settings to run a sampler with a flow model; measured by ``bench/flow/samplers.py``.

    :param schedule: the schedule used for Automatic
    :param in_time: true if it runs in the model's time, see :mod:`lib_sdfm.ops.flow_time`
    :param softened: true if it needs a schedule whose last step is no jump in ``log(sigma)``
    :param divides: true if it makes its own grid between two noise levels
    :param instead: the function that replaces it, with two model calls per step
    """

    schedule: str = "Beta"
    in_time: bool = False
    softened: bool = True
    divides: bool = False
    instead: Callable[..., Tensor] | None = None


@dataclass(frozen=True)
class SamplerRecord:
    """One sampler.

    :param name: its name in A1111; if A1111 lacks it, in the WebUI that has it
    :param functions: names of its function; for samplers that we add, the first is ours
    :param aliases: its names in other WebUIs, other spellings, and A1111's short names
    :param calls: levels of the model calls of each step, for its arguments; ``None`` if only the sampler knows them
    :param calls_per_step: model calls of a whole step; the last step may have fewer
    :param callback: when in a step it calls back
    :param spans: start and end of its steps, for its arguments; ``None`` if the technique CFG++ is refused
    :param own_flow: the same in the model's time, for flow models that the WebUI samples itself; another function than
        ``spans`` counts only for WebUIs whose samplers know such models (:class:`~lib_sdfm.sampling.host_flow.HostFlow`)
    :param refused: the reason for that, shown after the sampler's name
    :param grade: exactness of the technique CFG++; approximate for higher-order steps, which are exact only if the
        predictions they use don't differ
    :param flow: how it is run with a flow model
    :param in_timesteps: true if it works in indices of the noise table present at its start, not in noise levels
    :param own_grid: true if it chooses its steps itself, ignoring the schedule
    :param own_steps: true if its steps differ from the schedule's, in a number that only it knows
    :param by_error: true if it chooses its steps by an error that it measures as a share of the latent
    :param cfg_unit: what CFG 1 is in the scale that reaches the denoiser: 1/12.5 if that scale is CFG++'s lambda
    :param options: for samplers that we add, options for the WebUI: if it calls the model twice per step, if its noise is
        that of a Brownian path, if its seed includes the "Eta noise seed delta"
    """

    name: str
    functions: tuple[str, ...]
    aliases: tuple[str, ...]
    calls: Calls | None
    calls_per_step: int = 1
    callback: str = AFTER_FIRST_CALL
    spans: Spans | None = None
    own_flow: Spans | None = None
    refused: str = RENOISES_ITSELF
    grade: str = APPROXIMATE
    flow: FlowRun = FlowRun()
    in_timesteps: bool = False
    own_grid: bool = False
    own_steps: bool = False
    by_error: bool = False
    cfg_unit: float = 1.0
    options: Mapping[str, bool] = field(default_factory=dict)

    @property
    def renoises_itself(self) -> bool:
        """True if it renoises with the unconditional prediction by itself, and needs it in every step."""
        return self.spans is None and self.refused == RENOISES_ITSELF
