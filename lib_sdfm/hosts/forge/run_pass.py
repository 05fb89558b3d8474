"""Forge: one pass of a run, on a clone of Forge's UnetPatcher.

The pass replaces ``forge_objects.unet`` of the loaded model, and ``func`` of the sampler instance; both are restored when
it ends. The work is done by functions in the clone's options:

* a conditioning modifier, the last in its list, sees the CFG scale of the call, right before the model is called; what others
  predict in theirs, for a picture of reference say, is left alone
* a post-CFG function, the first in its list, combines the predictions, and makes the extra ones
* transformer patches edit decoder features and the attention of unconditional rows, and tell whose rows cross-attention sees
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import UnsupportedError
from ...ops.flow import latest_to_sigma
from ...sampling.host_flow import HostFlow
from ...sampling.model_call import ModelCall
from ...sampling.plan import Plan, compose, guidance_scale, skip_editors
from ...sampling.prediction import Prediction
from ...sampling.stages import Perturbation, Stages
from ..attention import ChangedTokens
from ..attributes import undo_all, undone_on_failure
from ..cross_attention import CrossGuidance, TextHost
from ..model_kind import Copies, LevelTable, is_flow_model, unet_time
from ..run import Ways, WholePasses, together_of
from ..steps import SamplerSteps, asked_scale
from ..unet_layers import UnetLayers, owner_of
from .attention import AttentionPatches, cond_rows, every_row
from .cross_attention import MarkedRows, images_of_block
from .denoiser_call import DenoiserCall, is_one, prompts_weight, require_no_uncond_needed
from .model_kind import is_host_flow
from .option_functions import attention_patch, cfg_of_function, skip_patch
from .patched_unet import PatchedUnet
from .space import ForgeSpace
from .tail import ForgeTail, others_in

Predict = Callable[..., tuple[Tensor, Tensor]]
"""Forge's ``calc_cond_uncond_batch``: from model, cond, uncond, x, sigma and options to the denoised images of both."""


class ForgePass:
    """A pass attached to ``p.sampler`` and the model from construction until :meth:`detach`.

    :param plan: the active techniques
    :param p: the host's processing object
    :param predict: Forge's prediction function
    :param text: encodes negative prompts and attends to them
    :param flow: how the host samples flow models that it knows by itself
    :param ways: is told of whole passes beside other extensions
    """

    TAIL = ForgeTail

    def __init__(
        self, plan: Plan, p: Any, predict: Predict, text: TextHost, flow: HostFlow = HostFlow(False), ways: Ways | None = None
    ) -> None:
        self.problem: Exception | None = None
        self.denoiser = p.sampler.model_wrap_cfg
        self._plan, self._p, self._predict = plan, p, predict
        self._call: DenoiserCall | None = None
        self._layers: UnetLayers | None = None
        self._tail_fits = True  # until a call goes through the UNet in another way: then whole passes for the rest
        self._together = together_of(p)
        self._whole = WholePasses(ways or Ways())
        self._tables = Copies()
        self._marked_rows = MarkedRows()
        self._cross = CrossGuidance(plan, p, text)
        with undone_on_failure(self._cross.detach):
            self._patched = PatchedUnet(self._objects(), self._functions())
        with undone_on_failure(self._cross.detach, self._patched.detach):
            own_flow = flow if self._is_host_flow(self._patched.model) else None
            self._steps = SamplerSteps(p.sampler, self._drop_call, plan, own_flow, self._from_options)

    def detach(self) -> None:
        """Restore everything; may be called again."""
        undo_all(self._steps.detach, self._patched.detach, self._require_combined, self._drop_call, self._cross.detach)

    def before_call(self, params: Any, run_call: int) -> None:
        """Prepare for one denoiser call. The host swallows exceptions here, so they are kept and raised later."""
        self._require_combined()
        self._drop_call()
        try:
            self._plan.require_fits(self.denoiser, self._p.sampler.config.name)
            self._follow_model()
            step = self._step(params, run_call)
            self._call = DenoiserCall(step, self._plan.active(step), params.text_uncond is None)
        except Exception as problem:  # raised when the host looks at the conditioning
            self.problem = self.problem or problem

    def _drop_call(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.tail is not None:
            call.tail.detach()
        self._cross.detach_call()

    def _require_combined(self) -> None:
        if self._call is not None and not self._call.combined:
            self.problem = self.problem or UnsupportedError(
                f"the result of a model call was combined without SDFM, at step {self._call.model_call.index}: another "
                "extension replaces the WebUI's sampling"
            )

    def _objects(self) -> Any:
        """Return the objects of the denoiser's model; in img2img after a refiner's batch it may not be the loaded one."""
        return self.denoiser.inner_model.inner_model.forge_objects

    def _follow_model(self) -> None:
        """Patch the current model: a refiner brings another one, without the patches."""
        objects = self._objects()
        if not self._patched.is_in(objects):
            self._patched.detach()
            self._patched = PatchedUnet(objects, self._functions())
        self._patched.come_last(objects)

    def _unet_layers(self) -> UnetLayers:
        unet = self._patched.diffusion_model
        if self._layers is None or self._layers.unet is not unet:
            self._layers = UnetLayers(unet)
        return self._layers

    def _step(self, params: Any, run_call: int) -> ModelCall:
        sigma = timestep = None
        host_flow = self._is_host_flow(self._patched.model)
        flow_model = host_flow or is_flow_model(self._kind_target())
        if self._plan.needs_level:
            sigma = float(params.sigma[-1])
            sigma = latest_to_sigma(sigma) if host_flow else sigma
            timestep = unet_time(sigma) if flow_model else self._level_table().time_of(sigma)
        return self._steps.next(self._p, params, run_call, sigma=sigma, timestep=timestep, flow_model=flow_model)

    def _level_table(self) -> LevelTable:
        """Return the table of the model's noise levels (Forge rounds times to its nearest entry, SDFM interpolates)."""
        predictor = self._predictor()
        return self._tables.of(predictor, lambda: LevelTable(predictor.sigmas))

    def _predictor(self) -> Any:
        """Return the part of the host's model that has its noise levels, ``sigmas``."""
        return self._patched.model.predictor

    def _from_options(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Return the arguments that a sampler's function takes from the host's options."""
        return {}

    def _is_host_flow(self, model: Any) -> bool:
        """Return True for a flow model that the host samples itself, in the model's own time."""
        return is_host_flow(model)

    def _kind_target(self) -> Any:
        """Return the part of the host's model that holds the adapter of a v or flow model."""
        return self._patched.model

    def _functions(self) -> dict[str, Callable[..., Any]]:
        """Return the functions added to Forge's options: plain ones, as Forge deep-copies the options."""

        def modify(model, x, timestep, uncond, cond, cond_scale, model_options, seed):  # noqa: ANN001, ANN202
            cond_scale, model_options = self._before_model(cond_scale, model_options, cond, x.device)
            return model, x, timestep, uncond, cond, cond_scale, model_options, seed

        def combine(args: dict[str, Any]) -> Tensor:
            return self._combine(args)

        functions = {"conditioning_modifiers": modify, "sampler_post_cfg_function": combine}
        if skip_editors(self._plan.techniques):
            functions["output_block_patch"] = skip_patch(lambda: self._call)
        if self._cross.technique is not None:
            functions["attn2_patch"] = self._marked_rows.patch()
        if any(type(t).main_perturbation is not Stages.main_perturbation for t in self._plan.techniques):
            functions["attn1_patch"] = attention_patch(lambda: self._call)
        return functions

    def _before_model(
        self, scale: float, options: dict[str, Any], cond: list[dict], device: torch.device
    ) -> tuple[float, dict[str, Any]]:
        """Return the CFG scale of the call, and the options with which the model is called."""
        if self.problem is not None:
            raise self.problem
        call = self._call
        if call is None or not call.active:
            return scale, options
        call.skips_uncond = call.has_no_uncond or (is_one(scale) and not is_one(asked_scale(self._p)))
        if call.has_no_uncond:
            require_no_uncond_needed(call.active, call.model_call)
        elif not call.skips_uncond:
            scale = guidance_scale(call.active, scale, call.model_call)
            if self._needs_uncond(call, cond):
                options = {**options, "disable_cfg1_optimization": True}
            call.skips_uncond = is_one(scale) and not options.get("disable_cfg1_optimization", False)
        call.scale = scale
        self._attach(call, options, cond, device)
        return scale, options

    def _attach(self, call: DenoiserCall, options: dict[str, Any], cond: list[dict], device: torch.device) -> None:
        """Attach what changes the main prediction, once, also if a host announces a call twice or a sampler isn't ours.

        Perturbed predictions are whole where other extensions have changed the UNet.
        """
        if call.begun:
            return
        call.begun = True
        unet = self._unet_layers()
        others = {*unet.changed_by_others(), *self._others(options, cond)} if call.changes else set()
        self._whole.begin(tuple(sorted(others)), call.perturbing, device)
        shares = self._tail_fits and not self._whole.names
        call.prepare(unet, self._together if shares else None, self.TAIL)
        if call.tail is not None:
            call.tail.attach()
        self._cross.attach(call.active, call.model_call, unet, self.denoiser.step, self._marked_rows.images)

    def _others(self, options: dict[str, Any], cond: list[dict[str, Any]]) -> set[str]:
        """Return who changes the UNet, or what it gives, by the host's options."""
        return set(others_in(options, cond, self._patched.functions))

    def _needs_uncond(self, call: DenoiserCall, cond: list[dict]) -> bool:
        """Return True if the unconditional prediction is used at CFG scale 1 too.

        Without it Forge multiplies the whole prediction by the sum of the prompts' weights.
        """
        needy = self.denoiser.need_last_noise_uncond or any(t.needs_uncond(call.model_call) for t in call.active)
        return needy or not is_one(prompts_weight(cond))

    def _combine(self, args: dict[str, Any]) -> Tensor:
        call, denoised = self._call, args["denoised"]
        if call is None or call.combined or call.active and not call.begun:
            return denoised
        call.combined = True
        if not call.active:
            return denoised
        try:
            return self._guide(call, args)
        finally:
            self._cross.detach_call()

    def _guide(self, call: DenoiserCall, args: dict[str, Any]) -> Tensor:
        denoised = args["denoised"]
        call.require_ran()
        self._cross.require_ran()
        space = ForgeSpace(args["input"], args["sigma"], self._in_eps(call), self._is_host_flow(args["model"]))
        cond = space.enter(args["cond_denoised"])
        prediction = Prediction(
            cond=cond,
            uncond=cond if call.skips_uncond else space.enter(args["uncond_denoised"]),
            weights=cond.new_full((len(cond),), prompts_weight(args["cond"])),
            images=torch.arange(len(cond), device=cond.device),
            cfg_scale=call.scale,
            perturbed=self._extra_predictions(call, args, space),
            noisy=space.noisy,
            has_uncond=not call.skips_uncond,
        )
        function = args["model_options"].get("sampler_cfg_function")
        if function is not None and self._plan.computes_cfg(call.active):
            cfg = functools.partial(cfg_of_function, function, args)
            prediction = prediction.combined_by(owner_of(function), lambda scale: space.enter(cfg(scale)))
        if call.tail is not None:
            call.tail.detach()
        guided = compose(call.active, prediction, call.model_call, lambda: space.enter(denoised))
        return space.leave(guided).to(denoised.dtype)

    def _in_eps(self, call: DenoiserCall) -> bool:
        """Return True if computed in noise, as recipe original does for A1111's timestep samplers; Forge's give x0."""
        return self._plan.in_host_space(call.active) and self.denoiser.classic_ddim_eps_estimation

    def _extra_predictions(self, call: DenoiserCall, args: dict[str, Any], space: ForgeSpace) -> dict[str, Tensor]:
        """Return an extra prediction of the conditional rows for each technique that perturbs attention."""
        if call.tail is not None:
            self._tail_fits = call.tail.end_main_prediction(len(args["cond"]))
        predictions: dict[str, Tensor] = {}
        shift: Tensor | float = 0.0
        if self._whole.names and call.changes:
            again = functools.partial(self._predict_cond, call, args, args["model_options"])
            shift = self._whole.shift(call.skips_uncond, args["cond_denoised"], again)
        if call.tail is not None and self._tail_fits:
            predictions = call.tail.predictions(lambda: self._predict_cond(call, args, args["model_options"]))
        for name in [name for name in call.changes if name not in predictions]:
            perturbed = functools.partial(self._whole_prediction, call, args, call.changes[name])
            predictions[name] = self._whole.repeated(perturbed) + shift
        return {name: space.enter(denoised) for name, denoised in predictions.items()}

    def _whole_prediction(self, call: DenoiserCall, args: dict[str, Any], change: Perturbation) -> Tensor:
        options = args["model_options"]
        if change.tokens is not None:
            with ChangedTokens(self._unet_layers().select(change.layers), change.tokens, images_of_block):
                return self._predict_cond(call, args, options)
        # other extensions may mix the prompts' rows with those of the negative prompt, which stay as they are
        patches = AttentionPatches(self._unet_layers(), change, cond_rows if self._whole.names else every_row)
        transformer = patches.added_to(options.get("transformer_options", {}))
        denoised = self._predict_cond(call, args, {**options, "transformer_options": transformer})
        patches.require_ran()
        return denoised

    def _predict_cond(self, call: DenoiserCall, args: dict[str, Any], options: dict[str, Any]) -> Tensor:
        """Return Forge's prediction for the prompt; beside others it makes the one for the negative prompt as well."""
        uncond = args["uncond"] if self._whole.names and not call.skips_uncond else None
        denoised, _ = self._predict(args["model"], args["cond"], uncond, args["input"], args["sigma"], options)
        return denoised
