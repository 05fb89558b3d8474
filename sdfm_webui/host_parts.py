"""Parts of SDFM that differ between the WebUIs; each WebUI has a module for its own: ``host_a1111`` and so on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from lib_sdfm.hosts.model_kind import NewAdapter
from lib_sdfm.hosts.named_samplers import WithUncond
from lib_sdfm.hosts.run import Ways
from lib_sdfm.hosts.uncond import DenoiserWithUncond
from lib_sdfm.ops.flow_probe import Recognition

from .kind_watch import DetectWatch

ZERO_TERMINAL_SNR = "Zero Terminal SNR"
"""The value of the option ``sd_noise_schedule`` that rescales noise tables."""


@dataclass(frozen=True)
class HostModules:
    """Objects that every WebUI has.

    :param shared: ``modules.shared``
    :param encode: ``get_learned_conditioning`` of ``modules.prompt_parser``
    :param queue_lock: held while a picture is made
    :param watch: follows the detection of a model's kind
    :param ways: is told of whole passes beside other extensions
    """

    shared: Any
    encode: Callable[..., Any]
    queue_lock: AbstractContextManager[Any]
    watch: DetectWatch
    ways: Ways

    def option(self, name: str, default: Any = None) -> Any:
        """Return the value of an option now; the default if the WebUI has none of this name."""
        return getattr(self.shared.opts, name, default)

    def rescales(self) -> bool:
        """Return True if the option for zero terminal SNR is on."""
        return self.option("sd_noise_schedule", "") == ZERO_TERMINAL_SNR


def the_model(model: Any) -> Any:
    """Return a model as the part of itself that holds the adapter of a v or flow model."""
    return model


@dataclass(frozen=True)
class HostParts:
    """Parts of one WebUI.

    :param new_pass: attaches a pass to a job, from its plan
    :param new_adapter: attaches an adapter of v and flow models; this and the following as in ``KindHost``
    :param own_schedules: returns True if an entry of the host's samplers makes its schedule from a loaded model
    :param with_uncond: gives the host's CFG denoiser its unconditional prediction
    :param goes_by_calls: true if this host always counts model calls for a refiner, never the model's time
    """

    new_pass: Callable[[Any, Any], Any]
    new_adapter: NewAdapter
    host_kind: Callable[[Any], str | None]
    host_rescales: Callable[[Any], bool]
    probe: Callable[[Any], Recognition]
    target: Callable[[Any], Any] = the_model
    keep_table: Callable[[Any], Callable[[], None]] = lambda target: lambda: None
    blind_samplers: tuple[str, ...] = ()
    own_schedules: Callable[[Any], bool] = lambda entry: False
    with_uncond: WithUncond = DenoiserWithUncond
    goes_by_calls: bool = True
