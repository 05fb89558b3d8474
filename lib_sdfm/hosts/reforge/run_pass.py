"""reForge: one pass of a run, on a clone of its UnetPatcher, as on Forge. What differs:

* The host's CFG++ samplers replace the list of post-CFG functions in each call. So ours is added by the conditioning
  modifier, to the options of the call.
* The unconditional prediction is skipped ("Skip early CFG", NGMS) after the modifiers: only the post-CFG function sees that.
* Conditioning for the negative prompt always exists, at CFG scale 1 too.
* The noise table is ``model_sampling``, and adapters of v and flow models are attached to the host's model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..forge.run_pass import ForgePass
from .tail import ReforgeTail

POST_CFG = "sampler_post_cfg_function"


class ReforgePass(ForgePass):
    """A pass attached to ``p.sampler`` and the model from construction until :meth:`detach`; arguments as on Forge."""

    TAIL = ReforgeTail

    def _predictor(self) -> Any:
        return self._patched.model.model_sampling

    def _kind_target(self) -> Any:
        return self.denoiser.inner_model.inner_model

    def _functions(self) -> dict[str, Callable[..., Any]]:
        functions = super()._functions()
        combine, modify = functions.pop(POST_CFG), functions["conditioning_modifiers"]

        def modify_and_combine(*call: Any) -> tuple:
            *others, options, seed = modify(*call)
            return *others, {**options, POST_CFG: [combine, *options.get(POST_CFG, ())]}, seed

        return {**functions, "conditioning_modifiers": modify_and_combine}

    def _combine(self, args: dict[str, Any]) -> Tensor:
        if self._call is not None and args["uncond"] is None:
            self._call.skips_uncond, self._call.scale = True, args["cond_scale"]
        return super()._combine(args)
