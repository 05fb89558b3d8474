"""Parts of SDFM for AUTOMATIC1111."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor

from lib_sdfm.hosts.a1111.model_kind import A1111Adapters, ask_a1111, host_kind
from lib_sdfm.hosts.a1111.model_outputs import DenoisedCallbacks
from lib_sdfm.hosts.a1111.run_pass import A1111Pass
from lib_sdfm.hosts.cross_attention import TextHost
from lib_sdfm.hosts.unet_layers import owner_of
from lib_sdfm.ops.flow_probe import Recognition
from lib_sdfm.ops.nag import attention
from lib_sdfm.sampling.plan import Plan

from .host_parts import HostModules, HostParts


def a1111_parts(host: HostModules, script_callbacks: Any, devices: Any, k_external: Any) -> HostParts:
    """Return the parts for AUTOMATIC1111.

    :param script_callbacks: ``modules.script_callbacks``
    :param devices: ``modules.devices``
    :param k_external: ``k_diffusion.external``
    """
    text = _text_host(host)
    denoised = _denoised_callbacks(host.shared, script_callbacks)

    def new_pass(plan: Plan, p: Any) -> A1111Pass:
        return A1111Pass(plan, p, text, host.ways, denoised)

    def v_denoiser(model: Any) -> Any:
        return k_external.CompVisVDenoiser(model, quantize=host.shared.opts.enable_quantization)

    def probe(model: Any) -> Recognition:
        with host.queue_lock, host.watch.running():  # no picture meanwhile
            return ask_a1111(model, devices.device, devices.autocast(), host.watch)

    return HostParts(
        new_pass=new_pass,
        new_adapter=A1111Adapters(v_denoiser),
        host_kind=host_kind,
        host_rescales=lambda model: host.rescales(),
        probe=probe,
        blind_samplers=("LCM",),
        goes_by_calls=False,
    )


def _text_host(host: HostModules) -> TextHost:
    def contexts(context: Any) -> tuple[Any, Any]:
        """Return the sources of keys and values: a text's encoding through the loaded hypernetworks."""
        hypernetwork = sys.modules.get("modules.hypernetworks.hypernetwork")
        if hypernetwork is None:
            return context, context
        return hypernetwork.apply_hypernetworks(host.shared.loaded_hypernetworks, context)

    def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        return attention(query, key, value, heads, upcast=bool(host.option("upcast_attn", False)))

    return TextHost(host.encode, contexts, attend)


def _denoised_callbacks(shared: Any, script_callbacks: Any) -> DenoisedCallbacks:
    def registered_by() -> tuple[str, ...]:
        registered = script_callbacks.ordered_callbacks("cfg_denoised")
        return tuple(sorted({owner_of(entry.callback) for entry in registered}))

    def call(outputs: Tensor, model: Any) -> None:
        state = shared.state
        params = script_callbacks.CFGDenoisedParams(outputs, state.sampling_step, state.sampling_steps, model)
        script_callbacks.cfg_denoised_callback(params)

    return DenoisedCallbacks(registered_by, call)
