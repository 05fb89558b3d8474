"""reForge: one pass of a run, on a clone of its UnetPatcher, as on Forge. What differs:

* The host's CFG++ samplers replace the list of post-CFG functions in each call. So ours is added by the conditioning
  modifier, to the options of the call.
* The unconditional prediction is skipped ("Skip early CFG", NGMS) after the modifiers: only the post-CFG function sees that.
* Conditioning for the negative prompt always exists, at CFG scale 1 too.
* Functions of others may change the predictions between the model and CFG.
* The noise table is ``model_sampling``, and adapters of v and flow models are attached to the host's model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...errors import UnsupportedError
from ...sampling.model_kind import FLOW
from ...sampling.plan import Plan
from ..cross_attention import TextHost
from ..forge.denoiser_call import DenoiserCall
from ..forge.run_pass import ForgePass, Predict
from ..model_kind import adapter_of, kind_of
from ..run import Ways
from ..unet_layers import owner_of
from .model_kind import SAMPLING, kind_of_sampling
from .sampler_options import arguments_from_options
from .tail import ReforgeTail

POST_CFG = "sampler_post_cfg_function"
PRE_CFG = "sampler_pre_cfg_function"
"""Option with functions that change both predictions before CFG (on Forge one of this name is called before the model)."""


class ReforgePass(ForgePass):
    """A pass attached to ``p.sampler`` and the model from construction until :meth:`detach`; other arguments as on Forge.

    :param option: returns the value of an option of the WebUI, ``None`` if there is none of this name
    """

    TAIL = ReforgeTail

    def __init__(
        self,
        plan: Plan,
        p: Any,
        predict: Predict,
        text: TextHost,
        option: Callable[[str], Any] = lambda name: None,
        ways: Ways | None = None,
    ) -> None:
        self._option = option
        super().__init__(plan, p, predict, text, ways=ways)

    def _from_options(self, function: Callable[..., Any]) -> dict[str, Any]:
        return arguments_from_options(function, self._option)

    def _follow_model(self) -> None:
        super()._follow_model()
        self._require_supported()
        adapter = adapter_of(self._kind_target())
        if adapter is not None:
            adapter.follow_loading()

    def _require_supported(self) -> None:
        """Raise :class:`UnsupportedError` for what reForge samples in a flow model's own time, or as two kinds at once."""
        kind, patched = kind_of(self._kind_target()), SAMPLING in self._objects().unet.object_patches
        if kind is not None and patched:
            feature = "Flow matching" if kind.is_flow else "Model kind"
            raise UnsupportedError(
                f"{feature}: reForge's Advanced Model Sampling is on as well, and a checkpoint is sampled as one kind only. "
                "Turn off one of them"
            )
        if kind_of_sampling(self._predictor()) == FLOW:
            raise UnsupportedError(
                "this is a flow model that reForge samples itself, in the model's own time, which SDFM doesn't support here. "
                + ("Turn off Advanced Model Sampling, and use Flow matching instead" if patched else "Turn off SDFM")
            )

    def _predictor(self) -> Any:
        return self._patched.model.model_sampling

    def _is_host_flow(self, model: Any) -> bool:
        return False  # refused by name

    def _kind_target(self) -> Any:
        return self.denoiser.inner_model.inner_model

    def _functions(self) -> dict[str, Callable[..., Any]]:
        functions = super()._functions()
        combine, modify = functions.pop(POST_CFG), functions["conditioning_modifiers"]

        def modify_and_combine(*call: Any) -> tuple:
            *others, options, seed = modify(*call)
            return *others, {**options, POST_CFG: [combine, *options.get(POST_CFG, ())]}, seed

        return {**functions, "conditioning_modifiers": modify_and_combine}

    def _others(self, options: dict[str, Any], cond: list[dict[str, Any]]) -> set[str]:
        return super()._others(options, cond) | {owner_of(function) for function in options.get(PRE_CFG, ())}

    def _predict_cond(self, call: DenoiserCall, args: dict[str, Any], options: dict[str, Any]) -> Tensor:
        functions = options.get(PRE_CFG, ())
        if not functions:
            return super()._predict_cond(call, args, options)
        conds = [args["cond"], None if call.skips_uncond else args["uncond"]]
        out = self._predict(args["model"], *conds, args["input"], args["sigma"], options)
        given = {**args, "conds": conds, "cond_scale": call.scale, "timestep": args["sigma"], "model_options": options}
        for function in functions:
            out = function({**given, "conds_out": out})
        return out[0]

    def _combine(self, args: dict[str, Any]) -> Tensor:
        if self._call is not None and args["uncond"] is None:
            self._call.skips_uncond, self._call.scale = True, args["cond_scale"]
        return super()._combine(args)
