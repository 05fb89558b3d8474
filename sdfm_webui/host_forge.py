"""Parts of SDFM for Forge and Forge Neo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib_sdfm.hosts.cross_attention import TextHost
from lib_sdfm.hosts.forge.model_kind import ask_forge, forge_adapter, host_kind, kept_table
from lib_sdfm.hosts.forge.run_pass import ForgePass, Predict
from lib_sdfm.ops.flow_probe import Recognition
from lib_sdfm.sampling.host_flow import HostFlow
from lib_sdfm.sampling.plan import Plan

from .host_parts import HostModules, HostParts
from .kind_watch import outcome, result_of


@dataclass(frozen=True)
class ForgeSampling:
    """Functions of Forge's and reForge's backend.

    :param predict: ``calc_cond_uncond_batch``
    :param attend: attention as the options choose it
    :param prepare: ``sampling_prepare``
    :param cleanup: ``sampling_cleanup``
    :param in_main_thread: runs a function in the thread to which the models belong, and returns its result
    """

    predict: Predict
    attend: Callable[..., Any]
    prepare: Callable[..., Any]
    cleanup: Callable[..., Any]
    in_main_thread: Callable[..., Any]

    def probe(self, host: HostModules) -> Callable[[Any], Recognition]:
        """Return a function that detects what a model predicts."""

        def ask(model: Any) -> Recognition:
            with host.queue_lock, host.watch.running():  # no picture meanwhile
                asked = self.in_main_thread(outcome, ask_forge, model, self.prepare, self.cleanup, host.watch)
                return result_of(asked)

        return ask


def forge_parts(host: HostModules, sampling: ForgeSampling, k_sampling: Any) -> HostParts:
    """Return the parts for Forge and Forge Neo.

    :param k_sampling: ``k_diffusion.sampling``
    """
    text = TextHost(host.encode, attend=sampling.attend)
    flow = HostFlow(adds_noise_right=hasattr(k_sampling, "half_log_snr_to_sigma"))  # Forge Neo

    def new_pass(plan: Plan, p: Any) -> ForgePass:
        return ForgePass(plan, p, sampling.predict, text, flow, host.ways)

    def rescales(model: Any) -> bool:
        return bool(getattr(getattr(model, "model_config", None), "ztsnr", False)) or host.rescales()

    return HostParts(
        new_pass=new_pass,
        new_adapter=forge_adapter,
        host_kind=host_kind,
        host_rescales=rescales,
        probe=sampling.probe(host),
        target=lambda model: model.forge_objects.unet.model,
        keep_table=kept_table,
    )
